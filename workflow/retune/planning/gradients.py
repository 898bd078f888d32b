"""What a rank holds of gradients, and of the buckets in which ranks reduce them.

Line numbers are those of DeepSpeed 0.19.8.
"""

from retune.artifacts.plan import Plan
from retune.planning.activations import Moment
from retune.planning.deepspeed_sizes import DeepSpeedSizes
from retune.planning.memory import (
    FP32_BYTES,
    accumulates_in_fp32,
    bytes_per_parameter,
    bytes_per_trained_parameter,
    device_gradients_bytes,
    is_offloaded,
)
from retune.planning.trained_sizes import TrainedSizes

# Elements of the buckets in which stage 0 adds up gradients; no key says another number
# (runtime/engine.py:3075).
ALLREDUCE_ELEMENTS = 5 * 10**8


class Gradients:
    """Gradients of a rank, from the backward pass on until they are stepped on.

    Attributes:
        trained: Number of elements that are trained, in a stage of a pipeline.
        own: Of these, those of the rank's shard.
        produced_bytes: Bytes of an element as the backward pass makes it.
        own_bytes: Bytes of an element in the rank's shard.
        accumulates: Whether they are added up in fp32.
        several: Whether those of several micro-batches are added up.
        offloads: Whether they leave the device with the optimizer.
        contiguous: Whether they are copied to a bucket.
        bucket: Bytes of the buckets in which they are reduced.
    """

    def __init__(
        self, plan: Plan, sizes: TrainedSizes, deepspeed: DeepSpeedSizes
    ) -> None:
        """Go by a plan, the sizes of the weights and those in the DeepSpeed config."""
        self.plan, self.sizes, self.deepspeed = plan, sizes, deepspeed
        ranks, stage = plan.data_parallel_size, plan.zero_stage
        self.trained = plan.num_trained / plan.pipeline_stages
        self.own = self.trained / (ranks if stage else 1)
        self.accumulates = accumulates_in_fp32(plan)
        self.several = plan.gradient_accumulation_steps > 1
        self.offloads = is_offloaded(plan.offload_optimizer, plan)
        self.produced_bytes = bytes_per_parameter(plan.precision).weight
        each = bytes_per_trained_parameter(plan)
        self.own_bytes = FP32_BYTES if self.accumulates else each.gradient
        # A pipeline overlaps nothing (runtime/engine.py:2665).
        self._overlaps = deepspeed.overlap_comm and plan.pipeline_stages == 1
        # An offloaded optimizer asks for it (stage_1_and_2.py:300).
        in_main_memory = plan.offload_optimizer != "none" and stage < 3
        self.contiguous = deepspeed.contiguous_gradients or in_main_memory
        self.bucket = self._bucket()
        sent = deepspeed.communication_dtype or plan.precision
        self._sent_bytes = bytes_per_parameter(sent).weight

    @property
    def stay_until_the_end(self) -> bool:
        """Whether all are kept until the backward pass has ended.

        At stage 1 they are without overlap of communication with the pass: on a single
        rank, unless the user asks for it, and in a pipeline.
        """
        stage = self.plan.zero_stage
        at_end = not (self._overlaps and self.contiguous)
        return stage == 0 or (stage == 1 and at_end)

    def _bucket(self) -> float:
        """Return the bytes of the buckets in which gradients are reduced.

        Gradients are copied to a bucket if they are to be contiguous, and at stages 1
        and 2 there is a second one where communication overlaps the backward pass
        (stage_1_and_2.py:3260-3275, stage3.py:780).
        """
        if self.plan.zero_stage == 0 or not self.contiguous:
            return 0.0
        number = 2 if self.plan.zero_stage < 3 and self._overlaps else 1
        return number * self.deepspeed.reduce_bucket_size * self.produced_bytes

    def kept_between_passes(self) -> float:
        """Return the bytes of gradients between the micro-batches of a step."""
        plan = self.plan
        if plan.zero_stage == 3 or (self.offloads and plan.zero_stage > 1):
            return 0.0
        if plan.zero_stage == 2 and not self.accumulates:
            return self.own_part()
        return device_gradients_bytes(plan)

    def own_part(self) -> float:
        """Return the bytes of the reduced gradients of a rank's shard."""
        if self.accumulates or not self.sizes.groups:
            return self.own * self.own_bytes
        in_turn = self.deepspeed.round_robin_gradients
        touched = self.sizes.most_touched(self.plan.data_parallel_size, in_turn)
        return touched * self.own_bytes / self.plan.pipeline_stages

    def reduced(self) -> float:
        """Return the bytes of what a backward pass reduces gradients into."""
        if self.plan.zero_stage == 3 or self.offloads:
            return 0.0
        if self.plan.zero_stage == 1 and self.several:
            # They come out of those that are there.
            return self.as_stage_1_reduces() - self.kept_between_passes()
        # Those of earlier micro-batches are there already, and are added to in fp32;
        # otherwise they are added up when the pass has ended.
        return 0.0 if self.accumulates and self.several else self.own_part()

    def waiting(self, moment: Moment) -> float:
        """Return the bytes of gradients that wait to be reduced where they are.

        They are not copied to a bucket if they are not to be contiguous. With
        communication that overlaps, those before them are freed one bucket later at
        stage 2 (stage_1_and_2.py:2264).
        """
        if self.contiguous:
            return 0.0
        bucket = self.deepspeed.reduce_bucket_size
        if self._overlaps and self.plan.zero_stage == 2:
            bucket *= 2
        return min(produced(moment), bucket * self.produced_bytes)

    def has_reduced(self, moment: Moment) -> bool:
        """Return whether a bucket has been full in a pass."""
        return (
            produced(moment) > self.deepspeed.reduce_bucket_size * self.produced_bytes
        )

    def as_stage_1_reduces(self) -> float:
        """Return the most bytes of gradients as stage 1 reduces them.

        Copied to a bucket, a gradient is freed (stage_1_and_2.py:1460), and as the
        bucket is reduced, the rank's own ones are copied from it. Most are there as
        that has happened to the first bucket, or to the last.
        """
        whole = device_gradients_bytes(self.plan)
        if not self.contiguous:
            return whole
        own = self.own_part()
        bucket = min(whole, self.deepspeed.reduce_bucket_size * self.produced_bytes)
        return max(own, whole - bucket + own * bucket / whole)

    def reducing(self, elements: float) -> float:
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
        converted = self._converted(elements)
        in_fp32 = elements * FP32_BYTES if self.accumulates else 0.0
        if plan.zero_stage == 3:
            if in_place:
                return converted + in_fp32
            in_fp32 /= plan.data_parallel_size
            sent = elements * self._sent_bytes
            by_gloo = sent if plan.accelerator == "cpu" else 0.0
            return converted + sent + max(in_fp32, by_gloo)
        alone = plan.data_parallel_size == 1 and not self.accumulates
        if in_place or (alone and self.contiguous):
            return converted
        return converted + elements * self.produced_bytes

    def added_up_at_stage_0(self) -> float:
        """Return the bytes of copies as stage 0 adds up gradients of all ranks.

        It copies them to flat buffers, on a single rank too, and what is sent in
        another type once more (`allreduce_bucket`, runtime/engine.py:3795).
        """
        elements = min(self.trained, ALLREDUCE_ELEMENTS)
        return elements * self.produced_bytes + self._converted(elements)

    def _converted(self, elements: float) -> float:
        """Return the bytes of so many gradients in another type that they are sent in.

        Nothing if they are sent as they are.
        """
        dtype = self.deepspeed.communication_dtype
        is_other = dtype not in (None, self.plan.precision)
        return elements * self._sent_bytes if is_other else 0.0


def produced(moment: Moment) -> float:
    """Return the bytes of the gradients that a backward pass has made by a moment."""
    return moment.gradients + moment.temporary_and_gradients - moment.temporary
