"""The memory of a plan: beside what real ranks hold, and what a GPU has measured."""

import json
from pathlib import Path

import pytest
import torch
import transformers

from memory_ranks import measure_all
from model_families import CLASSES, FAMILIES, build_family
from plans import make_plan
from retune.artifacts.model_facts import ModelFacts, OutputHead
from retune.compat.pytorch_live_storages import LiveStorages
from retune.engines import chunked_loss
from retune.engines.activation_trace import trace_activations
from retune.engines.loss_in_forward import compute_loss_in_forward
from retune.engines.traces import Traces
from retune.models import varlen_attention
from retune.models.find_model_facts import find_model_facts
from retune.models.fused_activations import fuse_activations
from retune.models.packed_inputs import packed_inputs
from retune.models.training_skeleton import build_training_skeleton
from retune.models.varlen_attention import flash, register_varlen
from retune.planning.activations import Activations
from retune.planning.deepspeed_config import deepspeed_config
from retune.planning.deepspeed_sizes import DeepSpeedSizes
from retune.planning.given_config import merged
from retune.planning.hardware import Hardware
from retune.planning.memory import BF16_BYTES
from retune.planning.memory_prediction import predict_memory
from retune.planning.trained_sizes import TrainedSizes
from retune.settings import LoraSettings
from retune.units import GB
from tiny_facts import tiny_facts

# Buffers of the model, the loss and the like, which are not predicted.
LITTLE = 8192
COMMON = {
    "attn_implementation": "varlen",
    "chunked_cross_entropy": True,
    "sequence_length": 256,
    "micro_batch_size": 4,
    "precision": "bf16",
    "gradient_accumulation_steps": 2,
}
CHECKPOINTED = {"activation_checkpointing": True}
# A tenth of the model.
SMALL = {"reduce_bucket_size": 100_000}
# Changes of the plan; all for one rank, the first so many for two as well.
CASES = [
    {"zero_stage": 2, "activation_checkpointing": "selective"},
    {"zero_stage": 1},
    {"zero_stage": 2, "precision": "fp32"},
    {"zero_stage": 3},
    {"zero_stage": 2},
    {"zero_stage": 0, "precision": "fp32"},
    {"zero_stage": 2, "lora": {"r": 8, "lora_alpha": 16}},
    {"zero_stage": 1, "gradient_accumulation_steps": 1, **CHECKPOINTED},
    {"zero_stage": 2, **CHECKPOINTED, "activation_checkpointing_interval": 2},
    {"zero_stage": 2, "chunked_cross_entropy": False},
    {"zero_stage": 2, "bf16_optimizer_states": True},
]
ON_TWO_RANKS = 4


def by_config(stage, **zero):
    """Return a case with keys of a user's DeepSpeed config."""
    return {"zero_stage": stage, "deepspeed": {"zero_optimization": zero}}


# ZeRO-3 that does not keep all weights gathered in a pass.
FREES = {
    **{"stage3_param_persistence_threshold": 1000, "stage3_max_reuse_distance": 1000},
    **{"stage3_prefetch_bucket_size": 1000, "stage3_max_live_parameters": 150_000},
}
SENT_IN_BF16 = {"deepspeed": {"communication_data_type": "bf16"}}
FEW = {"micro_batch_size": 1, "sequence_length": 32}
# Changes of the plan with such keys, for two ranks.
GIVEN = [
    by_config(1, **SMALL, overlap_comm=False),
    by_config(1, **SMALL, contiguous_gradients=False),
    by_config(2, **SMALL, overlap_comm=False, round_robin_gradients=True),
    by_config(2, **SMALL, contiguous_gradients=False),
    by_config(3, **SMALL, reduce_scatter=False, sub_group_size=50_000),
    by_config(3, **SMALL, **FREES, contiguous_gradients=False),
    # With few activations most is held as gradients are reduced.
    {**by_config(1, reduce_bucket_size=300_000), **FEW},
    {**by_config(1, reduce_bucket_size=900_000, overlap_comm=False), **FEW},
    {"zero_stage": 0, "precision": "fp32", **FEW, **SENT_IN_BF16},
]
PASSES = ("forward", "backward", "validation")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """Return the folder of a small Llama with tied embeddings, and its facts."""
    folder = build_family(
        "llama, tied",
        tmp_path_factory.mktemp("memory") / "base",
        **{"vocab_size": 1000, "hidden_size": 128, "intermediate_size": 256},
        **{"num_hidden_layers": 5, "head_dim": 32, "max_position_embeddings": 256},
    )
    find_model_facts(folder).write(folder)
    return folder


def with_batch(case, ranks):
    """Return a case for a number of ranks."""
    values = {**COMMON, **case}
    size = values["micro_batch_size"] * values["gradient_accumulation_steps"]
    return {**values, "ranks_per_node": ranks, "global_batch_size": ranks * size}


def predicted(base, case):
    """Return the bytes of each phase."""
    values = dict(case)
    lora, given = values.pop("lora", None), values.pop("deepspeed", {})
    facts = ModelFacts.read(base)
    skeleton = build_training_skeleton(base, facts, lora and LoraSettings(**lora))
    plan = make_plan(
        num_parameters=facts.num_parameters,
        num_adapter_parameters=skeleton.num_adapter_parameters,
        **values,
    )
    activations = trace_activations(skeleton, plan, [plan.micro_batch_size])
    assert (activations.source, activations.notes) == ("traced", ())
    sizes = DeepSpeedSizes.of(merged(deepspeed_config(plan), given))
    memory = predict_memory(plan, activations, skeleton.sizes, deepspeed=sizes)
    return {phase.name: phase.total for phase in memory.phases}


def test_the_largest_frozen_weight_is_known_beside_adapters(base):
    facts, lora = ModelFacts.read(base), LoraSettings(r=8, lora_alpha=16)
    sizes = build_training_skeleton(base, facts, lora).sizes
    # The embedding of 1,000 tokens.
    assert sizes.largest_of_all == max(sizes.frozen) == 1000 * 128 > sizes.largest
    assert build_training_skeleton(base, facts, None).sizes.frozen == ()


@pytest.mark.parametrize("ranks", [1, pytest.param(2, marks=pytest.mark.long)])
def test_ranks_hold_the_bytes_that_are_predicted(base, ranks):
    cases = [with_batch(case, ranks) for case in CASES]
    if ranks > 1:
        cases = cases[:ON_TWO_RANKS]
    compare(base, cases, ranks)


@pytest.mark.long
def test_ranks_hold_what_a_config_of_the_user_makes_them_hold(base):
    compare(base, [with_batch(case, 2) for case in GIVEN], 2)


def compare(base, cases, ranks):
    """Hold predictions to what ranks hold."""
    for case, held in zip(cases, measure_all(base, cases, ranks), strict=True):
        found = predicted(base, case)
        for phase, size in held.items():
            difference = found[phase] - size
            if phase in PASSES and "stage3_max_live_parameters" in str(case):
                # Of gathered weights it is told how many there are at most.
                assert 0 <= difference < 0.01 * size, (case, phase)
                continue
            if phase == "optimizer_init" and ranks > 1:
                # Half of the embedding, which is there whole for a moment.
                assert abs(difference) < 1000 * 128, (case, phase)
                continue
            assert abs(difference) <= LITTLE, (phase, difference, size, case)


@pytest.mark.parametrize("family", FAMILIES)
def test_activations_of_families_are_those_of_their_real_layers(family, tmp_path):
    kind, values = FAMILIES[family]
    names = (f"{kind}Config", f"{kind}ForCausalLM")
    config_class, model_class = CLASSES.get(kind, names)
    layers = {"n_layer" if family == "gpt2" else "num_hidden_layers": 6}
    config = getattr(transformers, config_class)(
        **{**values, **layers}, architectures=[model_class]
    )
    config.save_pretrained(tmp_path)
    facts = tiny_facts(output_head=OutputHead())
    skeleton = build_training_skeleton(tmp_path, facts, None)
    plan = make_plan(
        **{**COMMON, "sequence_length": 64, "precision": "fp32"}, zero_stage=2
    )
    activations = trace_activations(skeleton, plan, [4])
    assert activations.source == "traced"
    kept = activations.of(4).backward[0].activations
    real = kept_by_real_layers(config)
    if activations.notes:
        # Experts have no fake tensors in fp32.
        assert real < kept < 1.6 * real
    else:
        assert kept == pytest.approx(real, rel=0.01)


def kept_by_real_layers(config):
    """Return the bytes that a real model keeps for the backward pass, in fp32."""
    register_varlen()
    model = transformers.AutoModelForCausalLM.from_config(
        config, attn_implementation="varlen", dtype=torch.float32
    ).train()
    fuse_activations(model)
    compute_loss_in_forward(model, OutputHead())
    ids = torch.zeros(4, 64, dtype=torch.int64)
    positions = torch.arange(64).repeat(4, 1)
    live = LiveStorages()
    for tensor in (*model.parameters(), *model.buffers()):
        live.ignore(tensor)
    with live:
        inputs = packed_inputs(model.config, ids, positions, torch.device("cpu"))
        places = torch.arange(ids.numel())
        loss = model(**inputs, labels=ids.flatten(), label_places=places)
        del inputs
        assert loss.requires_grad
        return live.bytes


def test_weights_in_4_bits_are_unpacked_one_at_a_time_by_the_plan_alone(base):
    """The adviser asks for plans in 4 bits of a training that has none, and back."""
    lora = LoraSettings(r=8, lora_alpha=16)
    traces = Traces(build_training_skeleton(base, ModelFacts.read(base), lora))
    plan = make_plan(**COMMON, zero_stage=2)
    in_4bit = plan.model_copy(update={"num_4bit_parameters": 100_000})
    for usual, unpacked in zip(
        traces(plan).of(4).backward, traces(in_4bit).of(4).backward, strict=True
    ):
        # The largest is that of an MLP, in bf16.
        assert unpacked.temporary - usual.temporary == 2 * 256 * 128


def test_activations_grow_with_the_micro_batch_and_the_layers_in_a_line(base):
    skeleton = build_training_skeleton(base, ModelFacts.read(base), None)
    plan = make_plan(**{**COMMON, "zero_stage": 2, "precision": "fp32"})
    # A single sequence is copied less: many of its tensors are as rows already.
    two, four, eight = trace_activations(skeleton, plan, [2, 4, 8]).measured
    line = Activations((two, eight)).of(4)
    # What comes before the layers may take no more than the gradient of an embedding.
    for found, wanted in zip(line.backward[:-1], four.backward[:-1], strict=True):
        assert found.without_gradients == pytest.approx(wanted.without_gradients)
    assert skeleton.base.config.num_hidden_layers == 5
    assert len(two.backward) == 3 + 5


def test_many_sequences_take_most_elsewhere_than_few(base):
    """In validation: in a layer, and no longer where logits are computed in chunks."""
    skeleton = build_training_skeleton(base, ModelFacts.read(base), None)
    plan = make_plan(**COMMON, zero_stage=2, accelerator="cuda")
    few, more, many = trace_activations(skeleton, plan, [8, 16, 256]).measured
    line = Activations((few, more)).of(256).validation
    wanted = most(many.validation).without_gradients
    assert most(line).without_gradients == pytest.approx(wanted)
    assert most(few.validation).logits > 0 == most(few.validation).temporary
    assert most(line).temporary > 0 == most(line).logits


def test_zero_3_makes_each_weight_in_fp32_as_it_loads():
    """H200, the grid of benchmarks/gpu.md: GPT-2 and a Qwen2 of 0.5 B, tied heads."""
    for number, largest, measured in (
        (124_439_808, 50_257 * 768, 0.482),
        (494_032_768, 151_936 * 896, 1.809),
    ):
        plan = make_plan(
            zero_stage=3, precision="bf16", accelerator="cuda", num_parameters=number
        )
        sizes = TrainedSizes(((largest,),))
        phases = {one.name: one for one in predict_memory(plan, sizes=sizes).phases}
        assert phases["load"].tensor_bytes / GB == pytest.approx(measured, rel=0.005)


def most(moments):
    return max(moments, key=lambda moment: moment.without_gradients)


LLAMA_1B = {
    **{"vocab_size": 128_256, "hidden_size": 2048, "intermediate_size": 8192},
    **{"num_hidden_layers": 16, "num_attention_heads": 32, "num_key_value_heads": 8},
    **{"max_position_embeddings": 4096, "tie_word_embeddings": True},
}
GPT2 = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}


H200 = Hardware("cuda", 1, 1, 141.0, None, gpu_name="NVIDIA H200")


def repeated(query, key, value, *others):
    """Return flash attention's result with keys and values repeated for each head.

    That is how PyTorch 2.11 was used when it was measured.
    """
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = (each.repeat_interleave(groups, dim=1) for each in (key, value))
    return flash(query, key, value, *others)


@pytest.mark.parametrize(
    ("config", "length", "micro", "liger", "measured", "digit"),
    [
        # H200, ZeRO-1, bf16, 4 micro-batches a step; benchmarks/gpu_speed.py.
        (transformers.LlamaConfig(**LLAMA_1B), 2048, 4, True, 33.5, 0.1),
        (transformers.GPT2Config(**GPT2), 1024, 16, False, 7.88, 0.01),
    ],
)
def test_the_peak_that_a_gpu_has_measured_is_predicted(
    config, length, micro, liger, measured, digit, tmp_path, monkeypatch
):
    monkeypatch.setattr(varlen_attention, "flash", repeated)
    # Nor had the output head more words then than the vocabulary has.
    monkeypatch.setitem(chunked_loss.WORDS_MULTIPLE, "cuda", 1)
    config.save_pretrained(tmp_path)
    facts = tiny_facts(output_head=OutputHead(), vocab_size=config.vocab_size)
    skeleton = build_training_skeleton(tmp_path, facts, None)
    plan = make_plan(
        **{**COMMON, "sequence_length": length, "micro_batch_size": micro},
        zero_stage=1,
        accelerator="cuda",
        use_liger_kernel=liger,
        num_parameters=sum(p.numel() for p in skeleton.trained),
    )
    activations = trace_activations(skeleton, plan, [micro])
    memory = predict_memory(plan, activations, skeleton.sizes, H200)
    assert memory.peak.name == "forward"
    # What torch has allocated: not the context. Within 0.1 %, or as it was rounded.
    found = memory.peak_tensor_bytes / GB
    # The loop held the logits of one chunk more then.
    found += 2048 * config.vocab_size * BF16_BYTES / GB
    assert found == pytest.approx(measured, rel=1e-3, abs=digit / 2)


def test_a_model_that_cannot_be_followed_is_predicted_by_a_formula(base, monkeypatch):
    skeleton = build_training_skeleton(base, ModelFacts.read(base), None)

    def forward(*_, **__):
        raise RuntimeError("what fake tensors cannot do")

    monkeypatch.setattr(type(skeleton.base), "forward", forward)
    monkeypatch.setattr(type(skeleton.base.base_model), "forward", forward)
    plan = make_plan(**{**COMMON, "zero_stage": 2})
    activations = trace_activations(skeleton, plan, [4])
    assert activations.source == "formula"
    assert activations.notes == (
        "activations: by a formula, because llama models could not be traced",
    )
    monkeypatch.undo()
    traced = trace_activations(skeleton, plan, [4]).of(4).backward[0].activations
    assert activations.of(4).backward[0].activations == pytest.approx(traced, rel=0.5)


def test_nothing_but_the_config_of_a_model_is_read(base, tmp_path):
    (tmp_path / "config.json").write_text((base / "config.json").read_text())
    assert json.loads((tmp_path / "config.json").read_text())["model_type"] == "llama"
    build_training_skeleton(Path(tmp_path), tiny_facts(), None)
