"""What a rank holds on its device, in each phase of a training.

What is added up is in `retune.planning.memory`, `retune.planning.gradients`,
`retune.planning.gathered_weights` and, from a trace of the model's own code, in
`retune.planning.activations`. Line numbers are those of DeepSpeed 0.19.8.
"""

from collections import Counter

from retune.artifacts.memory_prediction import Kind
from retune.artifacts.plan import Plan
from retune.planning.activations import Moment, PassMemory
from retune.planning.deepspeed_sizes import DeepSpeedSizes
from retune.planning.gathered_weights import GatheredWeights
from retune.planning.gradients import Gradients
from retune.planning.memory import (
    BF16_BYTES,
    FP32_BYTES,
    bytes_per_parameter,
    device_gradients_bytes,
    device_states_bytes,
    device_weights_bytes,
    is_offloaded,
    weights_bytes,
)
from retune.planning.offload_buffers import shards_to_gather, swap_buffer_bytes
from retune.planning.trained_sizes import TrainedSizes

# DeepSpeed computes norms in fp64 (runtime/zero/utils.py:59).
FP64_BYTES = 8

Held = dict[Kind, float]


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
        self.plan, self.sizes, self.deepspeed = plan, sizes, deepspeed
        self.gradients = Gradients(plan, sizes, deepspeed)
        self.gathered = GatheredWeights(plan, sizes, deepspeed)
        self.weight = bytes_per_parameter(plan.precision).weight
        self.master = FP32_BYTES if not plan.bf16_optimizer_states else BF16_BYTES
        whole = weights_bytes(plan) / plan.pipeline_stages
        if is_offloaded(plan.offload_param, plan):
            whole = 0.0
        shards = plan.data_parallel_size if plan.zero_stage == 3 else 1
        self.loaded = whole / shards

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
            there: What tensors can have of the GPU, bytes; None: not known, or enough.
        """
        plan = self.plan
        if there is None or plan.accelerator == "cpu" or plan.zero_stage not in (1, 2):
            return 0.0
        groups = [sum(group) for group in self.sizes.groups] or [plan.num_trained]
        flat = max(groups) / plan.pipeline_stages * self.weight
        free = there - self.loaded
        return 2 * flat if free < flat else 0.0

    def load(self) -> Held:
        """Return what is held as weights are loaded, at most.

        ZeRO-3 has each made in fp32, rounds it, and keeps a shard of it
        (partition_parameters.py:271). Where that is in the memory that is read into,
        the largest is later there whole, and as rank 0 has read it. In fp32, where
        nothing is rounded, it may be less.
        """
        whole = 0.0
        if self.plan.zero_stage == 3:
            whole = self.sizes.largest_of_all * (FP32_BYTES + self.weight)
        return {"weights": self.loaded, "temporary": whole}

    def resting(self, **more: float) -> Held:
        """Return what is held between two steps, and more by kind."""
        plan = self.plan
        held: Held = {
            "weights": device_weights_bytes(plan)
            + self.gathered.persistent * self.weight,
            "gradients": 0.0,
            "optimizer_states": device_states_bytes(plan),
            "buffers": 0.0,
            "activations": 0.0,
            "logits": 0.0,
            "temporary": 0.0,
        }
        if plan.zero_stage == 3:
            # stage3.py:780 and :791, there for the whole training.
            held["buffers"] += self.gradients.bucket
            held["gradients"] += device_gradients_bytes(plan)
        if self.gradients.offloads and plan.zero_stage < 3:
            # `temp_grad_buffer_for_gpu_offload` (stage_1_and_2.py:659).
            held["buffers"] += self.sizes.largest * self.weight
        return plus(held, **more)

    def passing(self, **more: float) -> Held:
        """Return what is held in a forward or backward pass, and more by kind."""
        held: Held = {"weights": self.gathered.most * self.weight}
        if self.gathered.happens and is_offloaded(self.plan.offload_param, self.plan):
            ahead = self.deepspeed.stage3_prefetch_bucket_size
            shards = shards_to_gather(self.plan, self.sizes.largest_of_all, ahead)
            held["buffers"] = shards * self.weight
        return self.resting(**plus(held, **more))

    def optimizer_init(self) -> list[Held]:
        """Return the moments in which DeepSpeed makes flat copies and states.

        Stages 1 and 2 make zeros as gradients of all masters at once
        (stage_1_and_2.py:937), stage 3 for one sub-group (stage3.py:1306). Stage 3 then
        has its bucket and gradients, and gathers each trained weight to hook on to it
        (stage3.py:1504), wherever the optimizer is.
        """
        plan, weights = self.plan, self.loaded
        if plan.zero_stage == 0:
            return [{"weights": weights}]
        moments: list[Held] = [{"weights": weights, "temporary": self._flattened()}]
        made: Held = {"weights": device_weights_bytes(plan)}
        if not self.gradients.offloads:
            zeros = (
                self._largest_group() if plan.zero_stage == 3 else self.gradients.own
            )
            made["optimizer_states"] = self.gradients.own * self.master
            moments.append(plus(made, temporary=zeros * self.master))
        if plan.zero_stage == 3:
            hooked = plus(
                made,
                gradients=device_gradients_bytes(plan),
                buffers=self.gradients.bucket,
                temporary=self.sizes.largest * self.weight,
            )
            moments.append(hooked)
        return moments

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
        on_cpu, own = self.plan.accelerator == "cpu", self.gradients.own * self.weight
        if self.plan.zero_stage == 3:
            return own if on_cpu else 0.0
        return self.gradients.trained * self.weight if on_cpu else own

    def forward(self, passes: PassMemory) -> list[Held]:
        """Return the moments of a forward pass, of a micro-batch after the first.

        Before it, the micro-batches of a step have left gradients: at stage 1 whole
        ones in `param.grad`, and the bucket, which DeepSpeed frees only as it reduces
        them (stage_1_and_2.py:1061); at stage 2 those of the rank's own shard.
        """
        held = self.passing()
        if self.gradients.several:
            held = plus(held, gradients=self.gradients.kept_between_passes())
            if self.plan.zero_stage == 1 and not self.gradients.offloads:
                held = plus(held, buffers=self.gradients.bucket)
        return [in_part(held, moment) for moment in passes.forward]

    def validation(self, passes: PassMemory) -> list[Held]:
        """Return the moments of a forward pass without gradients."""
        return [in_part(self.passing(), moment) for moment in passes.validation]

    def backward(self, passes: PassMemory) -> list[Held]:
        """Return the moments of the backward pass in which most is held.

        DeepSpeed empties each gradient into a bucket, and the full bucket into the
        gradients of a rank's own shard: `grads_in_partition` (stage_1_and_2.py:2192),
        whole weights of which the shard has a part, or `averaged_gradients` in fp32
        (:1270), unless all are kept until the pass has ended. Stage 3 holds copies as
        it reduces a bucket: when that is full, and at the end.
        """
        held, stage, reduction = self.passing(), self.plan.zero_stage, self.gradients
        before = reduction.kept_between_passes() if reduction.several else 0.0
        held = plus(held, gradients=before)
        moments = []
        for number, moment in enumerate(passes.backward):
            gradients, temporary = 0.0, float(moment.temporary)
            is_last = number == len(passes.backward) - 1
            is_full = reduction.has_reduced(moment)
            if not reduction.stay_until_the_end:
                gradients = reduction.waiting(moment)
                if is_full or is_last:
                    gradients += reduction.reduced()
                if is_full:
                    temporary += reduction.reducing(self.deepspeed.reduce_bucket_size)
            elif not reduction.several:
                # Once there are gradients, later ones are added to them.
                gradients = moment.gradients
                temporary = moment.temporary_and_gradients
            # It is made at the first gradient, which comes as the head is done.
            is_made = number > 0 or (stage == 1 and reduction.several)
            buffers = reduction.bucket if stage in (1, 2) and is_made else 0.0
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
        if self.gradients.offloads:
            return [held]
        if plan.zero_stage == 0:
            return [plus(held, gradients=device_gradients_bytes(plan))]
        own = self._largest_group()
        if plan.zero_stage < 3:
            held = plus(held, gradients=self.gradients.own_part())
        flat = own * self.gradients.own_bytes
        copied = own * self.master if self.gradients.own_bytes != self.master else 0.0
        if plan.zero_stage < 3 and self.gradients.accumulates:
            flat = 0.0
        shards = plan.data_parallel_size if plan.zero_stage == 3 else 1
        norm = self.sizes.largest * FP64_BYTES / shards
        # Stage 3 frees all gathered weights first (stage3.py:2878).
        freed = plus(held, weights=-self.gathered.persistent * self.weight)
        moments = [plus(freed, temporary=size) for size in (flat + copied, norm)]
        return [*moments, held]

    def _largest_group(self) -> float:
        """Return the most elements of a rank's shard that are stepped on at once.

        Each stage of a pipeline is taken for an equal part of every group.
        """
        ranks, size = self.plan.data_parallel_size, self.deepspeed.sub_group_size
        if self.plan.zero_stage == 3:
            cut = self.sizes.largest_sub_group(ranks, size)
            return cut or min(self.gradients.own, size)
        shards = ranks * self.plan.pipeline_stages
        groups = [sum(group) / shards for group in self.sizes.groups]
        return max(groups, default=self.gradients.own)

    def _after_backward(self, before: float) -> Held:
        """Return what is held as gradients are reduced after the backward pass."""
        plan = self.plan
        held = self.resting()
        if plan.zero_stage == 0:
            copies = self.gradients.added_up_at_stage_0()
            return plus(held, gradients=device_gradients_bytes(plan), temporary=copies)
        reduction = self.gradients
        # The last may be larger than the bucket, and is then reduced as it is.
        bucket = min(reduction.trained, self.deepspeed.reduce_bucket_size)
        copies = reduction.reducing(max(bucket, self.sizes.largest))
        if plan.zero_stage == 3:
            return plus(held, temporary=copies)
        if plan.zero_stage == 1 and not reduction.offloads:
            before = reduction.as_stage_1_reduces()
        else:
            before += reduction.reduced()
        return plus(held, gradients=before, buffers=reduction.bucket, temporary=copies)


def in_part(held: Held, moment: Moment) -> Held:
    """Return what is held and what a part of a forward pass takes."""
    return plus(
        held,
        activations=moment.activations,
        logits=moment.logits,
        temporary=moment.temporary,
    )


def plus(held: Held, **more: float) -> Held:
    """Return what is held and more of some kinds."""
    total: Counter[Kind] = Counter()
    for part in (held, more):
        for kind, size in part.items():
            total[kind] += size  # type: ignore[index, assignment]
    return {kind: total[kind] for kind in total}
