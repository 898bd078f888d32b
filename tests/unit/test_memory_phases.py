"""What a rank is predicted to hold in the phases of a training, by where it runs."""

import pytest

from plans import make_plan
from retune.planning.memory_prediction import Rank
from retune.planning.trained_sizes import TrainedSizes

NUMBER = 10**6


def rank_of(*groups, **changes):
    """Return a rank that trains a model in bf16 with a million parameters.

    Args:
        *groups: Sizes of the trained weights, by the optimizer's groups.
        **changes: Changes of the plan.
    """
    values = {"num_parameters": NUMBER, "precision": "bf16", **changes}
    return Rank(make_plan(**values), TrainedSizes(groups))


@pytest.mark.parametrize("ranks", [1, 4])
@pytest.mark.parametrize(("accelerator", "copies"), [("cuda", 0), ("cpu", 1)])
def test_only_main_memory_holds_shards_of_stage_3_twice(accelerator, copies, ranks):
    rank = rank_of(zero_stage=3, ranks_per_node=ranks, accelerator=accelerator)
    shard = 2 * NUMBER / ranks
    flat, _ = rank.optimizer_init()
    assert flat == {"weights": shard, "temporary": copies * shard}
