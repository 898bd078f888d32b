"""Follows a training step of a model on fake tensors: what it takes beside the weights.

The model is made as the ranks make it, but of fake tensors, which have shapes and no
memory. Of layers that are alike three are computed, and the others taken to be as the
second of them: activations are exactly linear in layers.
"""

import logging
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace

from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from retune.artifacts.plan import Plan
from retune.compat.pytorch_attention_scratch import attention_scratch
from retune.compat.pytorch_fake_tensors import (
    fake_tensors,
    make_fake,
    without_errors_of_fake_tensors,
)
from retune.compat.pytorch_live_storages import LiveStorages
from retune.compat.transformers_layers import keep_layers, kinds_of_layers, layers_of
from retune.engines.loss_in_forward import compute_loss_in_forward
from retune.engines.traced_kernels import kernels_of
from retune.engines.traced_step import Part, TracedStep
from retune.models.activation_checkpointing import checkpoint_activations
from retune.models.fused_activations import fuse_activations
from retune.models.loading import DTYPES
from retune.models.traced_liger import memory_of_liger
from retune.models.training_skeleton import TrainingSkeleton
from retune.models.varlen_attention import VARLEN, register_varlen
from retune.planning.activations import (
    Activations,
    Moment,
    PassMemory,
    formula,
    scaled,
)
from retune.planning.work import Work

log = logging.getLogger(__name__)

# Attention kernels that compute on GPUs only, or compile themselves.
NOT_HERE = ("flash_attention_2", "flex_attention")


def trace_activations(
    skeleton: TrainingSkeleton, plan: Plan, micro_batch_sizes: Sequence[int]
) -> Activations:
    """Return what micro-batches of full sequences take, beside the weights.

    Each sequence is a single document, all of whose tokens are trained. If the model's
    code cannot be followed with its own attention, `varlen` takes the place of that; if
    it cannot be followed at all, a formula does.

    Args:
        skeleton: The model; it is not changed.
        plan: The plan, but for its micro-batch.
        micro_batch_sizes: Sequences of the micro-batches to follow, ascending.
    """
    own, precision = plan.attn_implementation, plan.precision
    # Grouped products of experts have no fake tensors in fp32.
    attempts = [(own, precision), (VARLEN, precision), (VARLEN, "bf16")]
    for kernels, dtype in attempts:
        if kernels in NOT_HERE:
            continue
        followed = plan.model_copy(
            update={"attn_implementation": kernels, "precision": dtype}
        )
        try:
            with without_errors_of_fake_tensors():
                passes = follow(skeleton, followed, micro_batch_sizes)
        except Exception as error:
            # Whatever a family's code raises on tensors that have no values.
            log.debug("not followed with %s in %s: %s", kernels, dtype, error)
            continue
        notes = []
        if kernels != own:
            notes.append(f"attention: as {kernels}, not as {own}")
        if dtype != precision:
            notes.append(f"activations: in {dtype}, and as many bytes again")
            passes = tuple(scaled(each, 2 * each.micro_batch_size) for each in passes)
            passes = tuple(
                replace(each, micro_batch_size=size)
                for each, size in zip(passes, micro_batch_sizes, strict=True)
            )
        return Activations(passes, notes=tuple(notes))
    return formula(plan, skeleton.base.config, skeleton.facts.vocab_size)


def follow(
    skeleton: TrainingSkeleton, plan: Plan, micro_batch_sizes: Sequence[int]
) -> tuple[PassMemory, ...]:
    """Return what micro-batches take, by computing them on fake tensors.

    Args:
        skeleton: The model; it is not changed.
        plan: The plan, but for its micro-batch.
        micro_batch_sizes: Sequences of the micro-batches.

    Raises:
        Exception: Whatever a model's code raises that fake tensors cannot go through.
    """
    register_varlen()
    model, base = skeleton.copied()
    base.set_attn_implementation(plan.attn_implementation)
    for parameter in model.parameters():
        parameter.data = parameter.data.to(DTYPES[plan.precision])
    fuse_activations(base)
    checkpoint_activations(base, plan)
    kinds = kinds_of_layers(base)
    kept = layers_to_follow(kinds)
    keep_layers(base, kept)
    output_head = skeleton.facts.output_head if plan.chunked_cross_entropy else None
    places = places_of(kinds, kept)
    # What a weight in 4 bits stands for is there while it is multiplied with.
    width = DTYPES[plan.precision].itemsize
    copied = width * largest_linear(base) if plan.num_4bit_parameters else 0
    unpacked = Moment(0, 0, copied, 0, copied)
    passes = []
    on_gpu = plan.accelerator == "cuda"
    live = LiveStorages(attention_scratch if on_gpu else None)
    liger = memory_of_liger(base) if plan.use_liger_kernel else nullcontext()
    with kernels_of(plan.accelerator), liger, fake_tensors(), live:
        make_fake(model.train())
        if output_head:
            compute_loss_in_forward(base, output_head)
        for size in micro_batch_sizes:
            traced = TracedStep(model, base, live)
            traced.run((size, plan.sequence_length), chunked=output_head is not None)
            forward = whole_pass(traced.forward, places)
            backward = whole_pass(traced.backward, places[::-1], is_backward=True)
            validation = whole_pass(traced.validation, places)
            passes.append(
                PassMemory(
                    size,
                    tuple(moment.plus(unpacked) for moment in forward),
                    tuple(moment.plus(unpacked) for moment in backward),
                    tuple(moment.plus(unpacked) for moment in validation),
                    whole_work(traced.forward, places).plus(
                        whole_work(traced.backward, places[::-1], is_backward=True)
                    ),
                )
            )
    return tuple(passes)


def largest_linear(model: PreTrainedModel) -> int:
    """Return the elements of the largest linear weight in the layers of a model."""
    return max(
        module.weight.numel()
        for layer in layers_of(model)
        for module in layer.modules()
        if isinstance(module, nn.Linear | Conv1D)
    )


def layers_to_follow(kinds: Sequence[object]) -> list[int]:
    """Return the numbers of the layers that are computed, ascending.

    These are the first two of each kind, and the last of all. The first and the last
    layer may keep more than others of their kind.
    """
    return [
        number
        for number, kind in enumerate(kinds)
        if kinds[:number].count(kind) < 2 or number == len(kinds) - 1
    ]


def places_of(kinds: Sequence[object], kept: list[int]) -> list[int]:
    """Return for each layer which of the computed ones it is like.

    Those that are computed are like themselves, others like the second of their kind.
    """
    like: dict[object, int] = {}
    for place, number in enumerate(kept):
        if kinds[:number].count(kinds[number]) < 2:
            like[kinds[number]] = place
    return [
        kept.index(number) if number in kept else like[kind]
        for number, kind in enumerate(kinds)
    ]


def whole_pass(
    parts: list[Part], places: list[int], is_backward: bool = False
) -> tuple[Moment, ...]:
    """Return the moments of a pass through all layers.

    Args:
        parts: What was seen: before the layers, of each layer, and after them. A
            backward pass has two parts before them: until the first gradient of a
            parameter, and from then on.
        places: For each layer of the model which of the seen ones it is like, in the
            order of the pass.
        is_backward: Whether the pass goes from the last layer to the first.
    """
    order, layers = all_parts(parts, places, is_backward)
    heads = (0, 1) if is_backward else (len(order) - 1,)
    live = parts[0].before
    if is_backward:
        # The layers that were not computed have kept what they free here.
        live += sum(part.before - part.after for part in order[2:-1])
        live -= sum(part.before - part.after for part in layers)
    gradients = 0
    moments = []
    for number, part in enumerate(order):
        more = part.peak - part.before
        more_with_gradients = part.peak_with_gradients - part.before - part.gradients
        logits = more if number in heads else 0
        moments.append(
            Moment(
                activations=live,
                logits=logits,
                temporary=more - logits,
                gradients=gradients,
                temporary_and_gradients=more_with_gradients - logits,
            )
        )
        live += part.after - part.before
        gradients += part.gradients_after - part.gradients
    return tuple(moments)


def all_parts(
    parts: list[Part], places: list[int], is_backward: bool
) -> tuple[list[Part], list[Part]]:
    """Return the parts of a pass through all layers, and the layers that were seen.

    The arguments are those of `whole_pass`.
    """
    leading = 2 if is_backward else 1
    missing = len(set(places)) + leading + 1 - len(parts)
    # Where nothing before the layers is trained, the backward pass ends with them.
    parts = [*parts, *[parts[-1].ended()] * missing]
    layers = parts[leading:-1]
    if is_backward:
        layers = layers[::-1]
    order = [*parts[:leading], *(layers[place] for place in places), parts[-1]]
    return order, layers


def whole_work(parts: list[Part], places: list[int], is_backward: bool = False) -> Work:
    """Return the work of a pass through all layers.

    The arguments are those of `whole_pass`.
    """
    total = Work()
    for part in all_parts(parts, places, is_backward)[0]:
        total = total.plus(part.work)
    return total
