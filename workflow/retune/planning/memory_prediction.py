"""Predicts the memory of a training: what a rank holds at most, in each of its phases.

`configure`, the requests of jobs and the advice where memory runs out ask this. What is
added up is in `retune.planning.memory` and, from a trace of the model's own code, in
`retune.planning.activations`. Line numbers are those of DeepSpeed 0.19.8.
"""

from collections import Counter
from collections.abc import Iterable

from retune.artifacts.memory_prediction import (
    Kind,
    MemoryPrediction,
    PhaseMemory,
    PhaseName,
)
from retune.artifacts.plan import Plan
from retune.planning.activations import Activations, Moment, PassMemory
from retune.planning.deepspeed_config import deepspeed_config
from retune.planning.deepspeed_sizes import DeepSpeedSizes
from retune.planning.gpus import workspace_bytes
from retune.planning.hardware import Hardware
from retune.planning.memory import (
    BF16_BYTES,
    FP32_BYTES,
    accumulates_in_fp32,
    bytes_per_parameter,
    bytes_per_trained_parameter,
    checkpoint_bytes,
    device_gradients_bytes,
    device_states_bytes,
    device_weights_bytes,
    is_offloaded,
    loading_bytes,
    offloaded_bytes,
    weights_bytes,
)
from retune.planning.offload_buffers import shards_to_gather, swap_buffer_bytes
from retune.planning.trained_sizes import TrainedSizes
from retune.units import GB

# Main memory of a process that has imported torch and DeepSpeed and has a CUDA context.
PROCESS_BYTES = 4_000_000_000
# On a GPU beside what PyTorch allocates: the CUDA context and its libraries. Not
# measured.
CONTEXT_BYTES = {"cuda": 700_000_000, "cpu": 0}
# Handles of cuBLAS, each with a workspace: that of the main thread, which computes the
# forward pass, and that of autograd's thread. cuBLASLt, which adds biases, shares them
# or has 1 MiB of its own, by the version of PyTorch; that is not counted.
CUBLAS_HANDLES = 2
# Phases before the first product of matrices.
WITHOUT_PRODUCTS = ("load", "optimizer_init")
# DeepSpeed computes norms in fp64 (runtime/zero/utils.py:59).
FP64_BYTES = 8
# Elements of the buckets in which stage 0 adds up gradients; no key says another number
# (runtime/engine.py:3075).
ALLREDUCE_ELEMENTS = 5 * 10**8

NO_PASS = PassMemory(1, (Moment(0, 0, 0, 0, 0),), (Moment(0, 0, 0, 0, 0),), 0)
UNKNOWN_ACTIVATIONS = Activations((NO_PASS,), source="unknown")

Held = dict[Kind, float]


def predict_memory(
    plan: Plan,
    activations: Activations = UNKNOWN_ACTIVATIONS,
    sizes: TrainedSizes | None = None,
    hardware: Hardware | None = None,
    deepspeed: DeepSpeedSizes | None = None,
) -> MemoryPrediction:
    """Return what a training will take.

    Args:
        plan: The plan.
        activations: What micro-batches take; if it is left out, none of it is counted.
        sizes: Sizes of the weights; None: as if each could be cut anywhere.
        hardware: The machines; None: any GPU, that has as much memory as it takes.
        deepspeed: Sizes in the DeepSpeed config; None: those of `deepspeed_config`.
    """
    deepspeed = deepspeed or DeepSpeedSizes.of(deepspeed_config(plan))
    rank = Rank(plan, sizes or TrainedSizes(()), deepspeed)
    at_size = activations.of(plan.micro_batch_size)
    phases = [
        most("load", [{"weights": rank.loaded}]),
        most("optimizer_init", rank.optimizer_init()),
        most("forward", rank.forward(at_size)),
        most("backward", rank.backward(at_size)),
        most("step", rank.step()),
        most("validation", [rank.passing(temporary=at_size.validation)]),
        most("save", [rank.resting()]),
    ]
    gpu_name = hardware.gpu_name if hardware else None
    with_context = tuple(
        PhaseMemory(
            phase.name,
            {**phase.bytes_by_kind, **around_tensors(plan, phase.name, gpu_name)},
        )
        for phase in phases
    )
    peak = max(phase.total for phase in with_context)
    return MemoryPrediction(
        phases=with_context,
        main_memory_bytes=main_memory_bytes(rank, peak, gpu_bytes(hardware)),
        nvme_bytes=round(offloaded_bytes(plan, "nvme") / plan.nodes),
        checkpoint_bytes=checkpoint_bytes(plan, plan.num_trained),
        activations=activations.source,
        unverified=(*unverified(plan, deepspeed), *activations.notes),
    )


def most(name: PhaseName, moments: Iterable[Held]) -> PhaseMemory:
    """Return a phase at the moment when it holds most."""
    held = max(moments, key=lambda moment: sum(moment.values()))
    return PhaseMemory(name, {kind: round(size) for kind, size in held.items()})


def around_tensors(plan: Plan, phase: PhaseName, name: str | None) -> dict[Kind, int]:
    """Return what a rank's device holds beside the tensors of a training, by kind.

    Args:
        plan: The plan.
        phase: Name of the phase.
        name: Name of the GPU; None if it is not known.
    """
    context: dict[Kind, int] = {"context": CONTEXT_BYTES[plan.accelerator]}
    if plan.accelerator == "cpu" or phase in WITHOUT_PRODUCTS:
        return context
    return {"workspaces": CUBLAS_HANDLES * workspace_bytes(name), **context}


def gpu_bytes(hardware: Hardware | None) -> float | None:
    """Return the memory of a GPU, bytes; None if it is not known."""
    memory = hardware.gpu_memory_gb if hardware else None
    return None if memory is None else memory * GB


def main_memory_bytes(rank: "Rank", peak: float, there: float | None = None) -> int:
    """Return the main memory that a node's ranks take, bytes.

    What a rank loads passes through main memory, then what is made flat there, and
    later its shard of a checkpoint each time that one is saved, but never two of these
    at once. ZeRO-3's shards, which pass through it as they are made flat, are smaller
    than what is saved of them.

    Args:
        rank: What a rank holds.
        peak: The most that it holds on its device, bytes.
        there: Memory of its GPU, bytes; None: not known, or enough.
    """
    plan = rank.plan
    saved = checkpoint_bytes(plan, plan.num_trained) / plan.world_size
    passing = max(loading_bytes(plan), saved, rank.flattened_in_main_memory(there))
    each = PROCESS_BYTES + passing + rank.swap_buffers
    if plan.accelerator == "cpu":
        each += peak
    offloaded = offloaded_bytes(plan, "cpu") / plan.nodes
    return round(plan.ranks_per_node * each + offloaded)


def unverified(plan: Plan, deepspeed: DeepSpeedSizes) -> tuple[str, ...]:
    """Return what of a plan's memory was never compared with a measurement."""
    notes = []
    if plan.accelerator == "cuda":
        notes.append("what the CUDA context and its libraries take beside tensors")
        if plan.attn_implementation != "varlen":
            notes.append("what attention's kernels take while they go backward")
        if (plan.attn_implementation, plan.precision) == ("sdpa", "fp32"):
            notes.append("sdpa in fp32: all scores, where heads share keys and values")
    if plan.pipeline_stages > 1:
        notes.append(
            "pipeline: stages are taken for equal parts, with as many passes at once"
        )
    if "nvme" in (plan.offload_optimizer, plan.offload_param):
        notes.append("buffers in main memory for what is on NVMe")
    if plan.offload_param != "none":
        notes.append("offloaded parameters: what of them is on a GPU at a time")
    if plan.nodes > 1:
        notes.append("several nodes: buffers of the network are not counted")
    if plan.torch_compile:
        notes.append("torch_compile: activations are those of layers not compiled")
    if plan.zero_stage == 3:
        notes += [f"{key}: what it takes is not counted" for key in deepspeed.uncounted]
    return tuple(notes)


class Rank:
    """What a rank holds on its device.

    Attributes:
        loaded: Bytes of the weights as they are loaded: all of them, or at ZeRO-3 a
            shard, which is made in main memory where parameters are offloaded
            (partition_parameters.py:1834).
    """

    def __init__(
        self, plan: Plan, sizes: TrainedSizes, deepspeed: DeepSpeedSizes
    ) -> None:
        """Go by a plan, the sizes of the weights and those in the DeepSpeed config."""
        each = bytes_per_trained_parameter(plan)
        ranks, stage = plan.data_parallel_size, plan.zero_stage
        self.plan, self.sizes, self.deepspeed = plan, sizes, deepspeed
        self.weight = bytes_per_parameter(plan.precision).weight
        self.trained = plan.num_trained / plan.pipeline_stages
        self.own = self.trained / (ranks if stage else 1)
        self.accumulates = accumulates_in_fp32(plan)
        self.several = plan.gradient_accumulation_steps > 1
        self.offloads = is_offloaded(plan.offload_optimizer, plan)
        self.master = FP32_BYTES if not plan.bf16_optimizer_states else BF16_BYTES
        self.gradient = FP32_BYTES if self.accumulates else each.gradient
        whole = weights_bytes(plan) / plan.pipeline_stages
        if is_offloaded(plan.offload_param, plan):
            whole = 0.0
        self.loaded = whole / (ranks if stage == 3 else 1)
        # A pipeline overlaps nothing (runtime/engine.py:2665).
        self.overlaps = deepspeed.overlap_comm and plan.pipeline_stages == 1
        # An offloaded optimizer asks for it (stage_1_and_2.py:300).
        in_main_memory = plan.offload_optimizer != "none" and stage < 3
        self.contiguous = deepspeed.contiguous_gradients or in_main_memory
        self.bucket = self._bucket()

    @property
    def swap_buffers(self) -> float:
        """Bytes of main memory for what is on a local disk."""
        return swap_buffer_bytes(self.plan, self._largest_group(), self.deepspeed)

    def flattened_in_main_memory(self, there: float | None) -> float:
        """Return the bytes of weights that are made flat in main memory at once.

        Stages 1 and 2 do so with the weights of an optimizer's group where a GPU has no
        room left for a copy of them: the weights, and the flat copy
        (stage_1_and_2.py:452-463 and :506).

        Args:
            there: Memory of the GPU, bytes; None: not known, or enough.
        """
        plan = self.plan
        if there is None or plan.accelerator == "cpu" or plan.zero_stage not in (1, 2):
            return 0.0
        groups = [sum(group) for group in self.sizes.groups] or [plan.num_trained]
        flat = max(groups) / plan.pipeline_stages * self.weight
        free = there - CONTEXT_BYTES[plan.accelerator] - self.loaded
        return 2 * flat if free < flat else 0.0

    def resting(self, **more: float) -> Held:
        """Return what is held between two steps, and more by kind."""
        plan = self.plan
        held: Held = {
            "weights": device_weights_bytes(plan) + self._persistent() * self.weight,
            "gradients": 0.0,
            "optimizer_states": device_states_bytes(plan),
            "buffers": 0.0,
            "activations": 0.0,
            "logits": 0.0,
            "temporary": 0.0,
        }
        if plan.zero_stage == 3:
            # stage3.py:780 and :791, there for the whole training.
            held["buffers"] += self.bucket
            held["gradients"] += device_gradients_bytes(plan)
        if self.offloads and plan.zero_stage < 3:
            # `temp_grad_buffer_for_gpu_offload` (stage_1_and_2.py:659).
            held["buffers"] += self.sizes.largest * self.weight
        return plus(held, **more)

    def passing(self, **more: float) -> Held:
        """Return what is held in a forward or backward pass, and more by kind."""
        held: Held = {"weights": self._gathered() * self.weight}
        if self._gathers() and is_offloaded(self.plan.offload_param, self.plan):
            ahead = self.deepspeed.stage3_prefetch_bucket_size
            shards = shards_to_gather(self.plan, self.sizes.largest_of_all, ahead)
            held["buffers"] = shards * self.weight
        return self.resting(**plus(held, **more))

    def optimizer_init(self) -> list[Held]:
        """Return the moments in which DeepSpeed makes flat copies and states.

        Stages 1 and 2 make zeros as gradients of all masters at once
        (stage_1_and_2.py:937), stage 3 for one sub-group (stage3.py:1306).
        """
        plan, weights = self.plan, self.loaded
        if plan.zero_stage == 0:
            return [{"weights": weights}]
        zeros = self._largest_group() if plan.zero_stage == 3 else self.own
        flat: Held = {"weights": weights, "temporary": self._flattened()}
        if self.offloads:
            return [flat]
        masters = self.own * self.master
        return [
            flat,
            {
                "weights": device_weights_bytes(plan),
                "optimizer_states": masters,
                "temporary": zeros * self.master,
            },
        ]

    def _flattened(self) -> float:
        """Return the bytes of weights that have to be held twice as they are made flat.

        Stages 1 and 2 copy all of them to a flat buffer, on a GPU only if it has as
        much free memory; otherwise through main memory, with no second copy on the GPU
        (stage_1_and_2.py:452-463 and :503-523). What they cannot do without is the copy
        of a rank's own part that becomes the masters (:560). On a GPU this is thus the
        least, and a run may be seen to hold up to all weights twice.

        Stage 3 copies all shards of a GPU to main memory, and back once they have left
        the GPU (`defragment`, runtime/zero/utils.py:215); offloaded ones are there
        anyway. Ranks on CPUs hold that copy in the memory that they compute in.
        """
        on_cpu, own = self.plan.accelerator == "cpu", self.own * self.weight
        if self.plan.zero_stage == 3:
            return own if on_cpu else 0.0
        return self.trained * self.weight if on_cpu else own

    def forward(self, passes: PassMemory) -> list[Held]:
        """Return the moments of a forward pass, of a micro-batch after the first.

        Before it, the micro-batches of a step have left gradients: at stage 1 whole
        ones in `param.grad`, and the bucket, which DeepSpeed frees only as it reduces
        them (stage_1_and_2.py:1061); at stage 2 those of the rank's own shard.
        """
        held = self.passing()
        if self.several:
            held = plus(held, gradients=self._kept_between_passes())
            if self.plan.zero_stage == 1 and not self.offloads:
                held = plus(held, buffers=self.bucket)
        return [
            plus(
                held,
                activations=moment.activations,
                logits=moment.logits,
                temporary=moment.temporary,
            )
            for moment in passes.forward
        ]

    def backward(self, passes: PassMemory) -> list[Held]:
        """Return the moments of the backward pass in which most is held.

        DeepSpeed empties each gradient into a bucket, and the full bucket into the
        gradients of a rank's own shard: `grads_in_partition` (stage_1_and_2.py:2192),
        whole weights of which the shard has a part, or `averaged_gradients` in fp32
        (:1270). Without overlap of communication with the pass (a single rank, unless
        the user asks for it, and a pipeline) all gradients are kept at stage 1 until
        the pass has ended. Stage 3 holds copies as
        it reduces a bucket: when that is full, and at the end.
        """
        plan, held = self.plan, self.passing()
        stage = plan.zero_stage
        before = self._kept_between_passes() if self.several else 0.0
        at_end = not (self.overlaps and self.contiguous)
        keeps = stage == 0 or (stage == 1 and at_end)
        # Once there are gradients, later ones are added to them.
        keeps_new = keeps and not self.several
        held = plus(held, gradients=before)
        has_bucket = stage == 1 and self.several
        moments = []
        for number, moment in enumerate(passes.backward):
            gradients = temporary = 0.0
            if keeps_new:
                gradients = moment.gradients
                temporary = moment.temporary_and_gradients
            else:
                temporary = moment.temporary
            last = number == len(passes.backward) - 1
            # It is made at the first gradient, which comes as the head is done.
            buffers = self.bucket if stage in (1, 2) and (number or has_bucket) else 0.0
            if not keeps and (last or self._has_reduced(moment)):
                gradients += self._reduced()
            if not keeps:
                gradients += self._waiting(moment)
                if self._has_reduced(moment):
                    temporary += self._reducing(self.deepspeed.reduce_bucket_size)
            moments.append(
                plus(
                    held,
                    gradients=gradients,
                    buffers=buffers,
                    activations=moment.activations,
                    logits=moment.logits,
                    temporary=temporary,
                )
            )
        moments.append(self._after_backward(before))
        return moments

    def step(self) -> list[Held]:
        """Return the moments of an optimizer step.

        Of each gradient of a rank's shard the norm is computed in fp64. Then the
        gradients of one group of parameters, or at stage 3 of one sub-group, are copied
        to a flat tensor, and that to the dtype of the master weights
        (stage_1_and_2.py:3114-3118, stage3.py:2686); gradients that were accumulated in
        fp32 at stage 2 are flat already.
        """
        plan, held = self.plan, self.resting()
        if self.offloads:
            return [held]
        if plan.zero_stage == 0:
            return [plus(held, gradients=device_gradients_bytes(plan))]
        own = self._largest_group()
        if plan.zero_stage < 3:
            held = plus(held, gradients=self._own_gradients())
        flat = own * self.gradient
        copied = own * self.master if self.gradient != self.master else 0.0
        if plan.zero_stage < 3 and self.accumulates:
            flat = 0.0
        shards = plan.data_parallel_size if plan.zero_stage == 3 else 1
        norm = self.sizes.largest * FP64_BYTES / shards
        # Stage 3 frees all gathered weights first (stage3.py:2878).
        freed = plus(held, weights=-self._persistent() * self.weight)
        moments = [plus(freed, temporary=size) for size in (flat + copied, norm)]
        return [*moments, held]

    def _largest_group(self) -> float:
        """Return the most elements of a rank's shard that are stepped on at once.

        Each stage of a pipeline is taken for an equal part of every group.
        """
        ranks, size = self.plan.data_parallel_size, self.deepspeed.sub_group_size
        if self.plan.zero_stage == 3:
            cut = self.sizes.largest_sub_group(ranks, size)
            return cut or min(self.own, size)
        shards = ranks * self.plan.pipeline_stages
        groups = [sum(group) / shards for group in self.sizes.groups]
        return max(groups, default=self.own)

    def _bucket(self) -> float:
        """Return the bytes of the buckets in which gradients are reduced.

        Gradients are copied to a bucket if they are to be contiguous, and at stages 1
        and 2 there is a second one where communication overlaps the backward pass
        (stage_1_and_2.py:3260-3275, stage3.py:780).
        """
        if self.plan.zero_stage == 0 or not self.contiguous:
            return 0.0
        number = 2 if self.plan.zero_stage < 3 and self.overlaps else 1
        return number * self.deepspeed.reduce_bucket_size * self.weight

    def _gathers(self) -> bool:
        """Return whether ZeRO-3 gathers weights, which a rank holds beside its shard.

        A single rank computes with its shard itself, unless that is in main memory,
        from where it copies each weight (`NoGatherHandle`,
        partition_parameters.py:61).
        """
        plan = self.plan
        is_here = not is_offloaded(plan.offload_param, plan)
        return plan.zero_stage == 3 and not (plan.data_parallel_size == 1 and is_here)

    def _persistent(self) -> float:
        """Return the elements of the weights that ZeRO-3 never frees: the small ones.

        They are gathered again after each step (parameter_offload.py:317,
        stage3.py:2841).
        """
        if not self._gathers():
            return 0.0
        small = self.sizes.within(self.deepspeed.stage3_param_persistence_threshold)
        return min(small, self.deepspeed.stage3_model_persistence_threshold)

    def _gathered(self) -> float:
        """Return the elements of other weights that ZeRO-3 gathers at most in a pass.

        It frees a weight after its use unless another use is near: between the two no
        more elements are used than `stage3_max_reuse_distance`
        (partitioned_param_coordinator.py:657). As the backward pass goes the way of the
        forward pass back, these are at most half as many. Each module, those without
        weights too, has it gather more ahead, until `stage3_max_live_parameters` are
        there (:453). The last weight may go beyond.
        """
        if not self._gathers():
            return 0.0
        plan, deepspeed = self.plan, self.deepspeed
        number = plan.num_parameters + plan.num_adapter_parameters
        most = deepspeed.stage3_max_reuse_distance / 2
        if deepspeed.prefetches:
            most = max(most, deepspeed.stage3_max_live_parameters)
        most += self.sizes.largest_of_all
        return min(number - self._persistent(), most)

    def _kept_between_passes(self) -> float:
        """Return the bytes of gradients between the micro-batches of a step."""
        plan = self.plan
        if plan.zero_stage == 3 or (self.offloads and plan.zero_stage > 1):
            return 0.0
        if plan.zero_stage == 2 and not self.accumulates:
            return self._own_gradients()
        return device_gradients_bytes(plan)

    def _own_gradients(self) -> float:
        """Return the bytes of the reduced gradients of a rank's shard."""
        if self.accumulates or not self.sizes.groups:
            return self.own * self.gradient
        in_turn = self.deepspeed.round_robin_gradients
        touched = self.sizes.most_touched(self.plan.data_parallel_size, in_turn)
        return touched * self.gradient / self.plan.pipeline_stages

    def _reduced(self) -> float:
        """Return the bytes of what a backward pass reduces gradients into."""
        if self.plan.zero_stage == 3 or self.offloads:
            return 0.0
        if self.plan.zero_stage == 1 and self.several:
            # They come out of those that are there.
            return self._as_stage_1_reduces() - self._kept_between_passes()
        # Those of earlier micro-batches are there already, and are added to in fp32;
        # otherwise they are added up when the pass has ended.
        return 0.0 if self.accumulates and self.several else self._own_gradients()

    def _waiting(self, moment: Moment) -> float:
        """Return the bytes of gradients that wait to be reduced where they are.

        They are not copied to a bucket if they are not to be contiguous. With
        communication that overlaps, those before them are freed one bucket later at
        stage 2 (stage_1_and_2.py:2264).
        """
        if self.contiguous:
            return 0.0
        bucket = self.deepspeed.reduce_bucket_size
        if self.overlaps and self.plan.zero_stage == 2:
            bucket *= 2
        return min(produced(moment), bucket * self.weight)

    def _has_reduced(self, moment: Moment) -> bool:
        """Return whether a bucket has been full in a pass."""
        return produced(moment) > self.deepspeed.reduce_bucket_size * self.weight

    def _after_backward(self, before: float) -> Held:
        """Return what is held as gradients are reduced after the backward pass.

        Stage 0 copies them to flat buffers, on a single rank too (`allreduce_bucket`,
        runtime/engine.py:3795).
        """
        plan = self.plan
        held = self.resting()
        if plan.zero_stage == 0:
            gradients = device_gradients_bytes(plan)
            reduced = min(self.trained, ALLREDUCE_ELEMENTS) * self.weight
            return plus(held, gradients=gradients, temporary=reduced)
        # The last may be larger than the bucket, and is then reduced as it is.
        bucket = min(self.trained, self.deepspeed.reduce_bucket_size)
        copies = self._reducing(max(bucket, self.sizes.largest))
        if plan.zero_stage == 3:
            return plus(held, temporary=copies)
        if plan.zero_stage == 1 and not self.offloads:
            before = self._as_stage_1_reduces()
        else:
            before += self._reduced()
        return plus(held, gradients=before, buffers=self.bucket, temporary=copies)

    def _as_stage_1_reduces(self) -> float:
        """Return the most bytes of gradients as stage 1 reduces them.

        Copied to a bucket, a gradient is freed (stage_1_and_2.py:1460), and as the
        bucket is reduced, the rank's own ones are copied from it. Most are there as
        that has happened to the first bucket, or to the last.
        """
        whole = device_gradients_bytes(self.plan)
        if not self.contiguous:
            return whole
        own = self._own_gradients()
        bucket = min(whole, self.deepspeed.reduce_bucket_size * self.weight)
        return max(own, whole - bucket + own * bucket / whole)

    def _reducing(self, elements: float) -> float:
        """Return the bytes of copies as so many gradients are reduced from stage 1 on.

        Stage 3 copies those of a bucket into one tensor, in the order of the ranks
        (`reduce_scatter_coalesced`, runtime/comm/coalesced_collectives.py:122). Once it
        is reduced, the rank's own part of it is copied to fp32, if gradients are
        accumulated so (stage3.py:1944). While it is, gloo, by which ranks on CPUs talk,
        holds it a second time. Without `reduce_scatter` a contiguous bucket is reduced
        where it is, and all of it is copied to fp32 (stage3.py:1886).

        Stages 1 and 2 make one tensor of the parts of a bucket (`allreduce_bucket`,
        stage_1_and_2.py:2361), of which there are several if it has parts of several
        ranks, or if these are added to gradients in fp32, each by itself.

        What is sent in another type is copied once more (:2377, stage3.py:1920).
        """
        plan, deepspeed = self.plan, self.deepspeed
        in_place = not deepspeed.reduce_scatter and self.contiguous
        if plan.zero_stage == 3:
            # What is larger than a bucket is never put into one (stage3.py:1626).
            in_place = in_place and elements <= deepspeed.reduce_bucket_size
        sent = deepspeed.communication_bytes or self.weight
        converted = elements * sent if sent != self.weight else 0.0
        in_fp32 = elements * FP32_BYTES if self.accumulates else 0.0
        if plan.zero_stage == 3:
            if in_place:
                return converted + in_fp32
            in_fp32 /= plan.data_parallel_size
            by_gloo = elements * sent if plan.accelerator == "cpu" else 0.0
            return converted + elements * sent + max(in_fp32, by_gloo)
        alone = plan.data_parallel_size == 1 and not self.accumulates
        if in_place or (alone and self.contiguous):
            return converted
        return converted + elements * self.weight


def produced(moment: Moment) -> float:
    """Return the bytes of the gradients that a backward pass has made by a moment."""
    return moment.gradients + moment.temporary_and_gradients - moment.temporary


def plus(held: Held, **more: float) -> Held:
    """Return what is held and more of some kinds."""
    total: Counter[Kind] = Counter()
    for part in (held, more):
        for kind, size in part.items():
            total[kind] += size  # type: ignore[index, assignment]
    return {kind: total[kind] for kind in total}
