"""What ZeRO-3 gathers of weights, which a rank holds beside its own part of them.

Line numbers are those of DeepSpeed 0.19.8.
"""

from retune.artifacts.plan import Plan
from retune.planning.deepspeed_sizes import DeepSpeedSizes
from retune.planning.memory import is_offloaded
from retune.planning.trained_sizes import TrainedSizes


class GatheredWeights:
    """Weights that a rank has gathered, as numbers of elements."""

    def __init__(
        self, plan: Plan, sizes: TrainedSizes, deepspeed: DeepSpeedSizes
    ) -> None:
        """Go by a plan, the sizes of the weights and those in the DeepSpeed config."""
        self.plan, self.sizes, self.deepspeed = plan, sizes, deepspeed

    @property
    def happens(self) -> bool:
        """Whether ZeRO-3 gathers weights, which a rank holds beside its shard.

        A single rank computes with its shard itself, unless that is in main memory,
        from where it copies each weight (`NoGatherHandle`,
        partition_parameters.py:61).
        """
        plan = self.plan
        is_here = not is_offloaded(plan.offload_param, plan)
        return plan.zero_stage == 3 and not (plan.data_parallel_size == 1 and is_here)

    @property
    def persistent(self) -> float:
        """Elements of the weights that ZeRO-3 never frees: the small ones.

        They are gathered again after each step (parameter_offload.py:317,
        stage3.py:2841).
        """
        if not self.happens:
            return 0.0
        small = self.sizes.within(self.deepspeed.stage3_param_persistence_threshold)
        return min(small, self.deepspeed.stage3_model_persistence_threshold)

    @property
    def most(self) -> float:
        """Elements of other weights that ZeRO-3 gathers at most in a pass.

        It frees a weight after its use unless another use is near: between the two no
        more elements are used than `stage3_max_reuse_distance`
        (partitioned_param_coordinator.py:657). As the backward pass goes the way of the
        forward pass back, these are at most half as many. Each module, those without
        weights too, has it gather more ahead, until `stage3_max_live_parameters` are
        there (:453). The last weight may go beyond.
        """
        if not self.happens:
            return 0.0
        plan, deepspeed = self.plan, self.deepspeed
        number = plan.num_parameters + plan.num_adapter_parameters
        most = deepspeed.stage3_max_reuse_distance / 2
        if deepspeed.prefetches:
            most = max(most, deepspeed.stage3_max_live_parameters)
        most += self.sizes.largest_of_all
        return min(number - self.persistent, most)
