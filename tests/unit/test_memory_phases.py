"""What a rank is predicted to hold in the phases of a training, by where it runs."""

import pytest

from plans import make_plan
from retune.planning.activations import Moment, PassMemory
from retune.planning.deepspeed_config import REDUCE_BUCKET_SIZE, deepspeed_config
from retune.planning.deepspeed_sizes import DeepSpeedSizes
from retune.planning.given_config import merged
from retune.planning.memory_prediction import (
    NO_PASS,
    PROCESS_BYTES,
    Rank,
    predict_memory,
)
from retune.planning.trained_sizes import TrainedSizes

NUMBER = 10**6


def rank_of(*groups, **changes):
    """Return a rank that trains a model in bf16 with a million parameters.

    Args:
        *groups: Sizes of the trained weights, by the optimizer's groups.
        **changes: Changes of the plan, and under `deepspeed` of the DeepSpeed config.
    """
    values = {"num_parameters": NUMBER, "precision": "bf16", **changes}
    given = values.pop("deepspeed", {})
    plan = make_plan(**values)
    config = merged(deepspeed_config(plan), given)
    return Rank(plan, TrainedSizes(groups), DeepSpeedSizes.of(config))


@pytest.mark.parametrize("ranks", [1, 4])
@pytest.mark.parametrize(("accelerator", "copies"), [("cuda", 0), ("cpu", 1)])
def test_only_main_memory_holds_shards_of_stage_3_twice(accelerator, copies, ranks):
    rank = rank_of(zero_stage=3, ranks_per_node=ranks, accelerator=accelerator)
    shard = 2 * NUMBER / ranks
    flat, _ = rank.optimizer_init()
    assert flat == {"weights": shard, "temporary": copies * shard}


@pytest.mark.parametrize("device", ["cpu", "nvme"])
@pytest.mark.parametrize("ranks", [1, 4])
def test_offloaded_weights_are_on_a_gpu_in_the_passes_alone(ranks, device):
    plan = {"zero_stage": 3, "accelerator": "cuda", "ranks_per_node": ranks}
    rank = rank_of(offload_optimizer=device, offload_param=device, **plan)
    assert rank.loaded == 0
    assert [sum(moment.values()) for moment in rank.optimizer_init()] == [0]
    *during, after = rank.backward(NO_PASS)
    for moment in (*rank.forward(NO_PASS), *during):
        assert moment["weights"] == 2 * NUMBER
    assert after["weights"] == rank.resting()["weights"] == 0


def test_no_more_weights_are_copied_to_a_gpu_than_may_be_live():
    large = {"num_parameters": 3 * 10**9, "accelerator": "cuda", "zero_stage": 3}
    rank = rank_of((10**6, 10**8), offload_param="cpu", **large)
    assert rank.passing()["weights"] == 2 * (10**9 + 10**8)
    assert rank.resting()["weights"] == 0


def test_a_single_rank_that_offloads_nothing_computes_with_its_shard():
    rank = rank_of(zero_stage=3, accelerator="cuda")
    assert rank.resting()["weights"] == 2 * NUMBER


def test_a_stage_of_a_pipeline_steps_on_its_part_of_a_group():
    sizes = (300_000, 200_000), (400_000, 100_000)
    plan = {"zero_stage": 1, "ranks_per_node": 4, "gradient_accumulation_steps": 4}
    whole, staged = (
        rank_of(*sizes, **plan, pipeline_stages=stages, nodes=stages).step()[0]
        for stages in (1, 2)
    )
    # Four ranks for each stage. The third has parts of all weights but the last.
    assert whole["gradients"] == 2 * 900_000
    # Of the larger group flat gradients, and those in fp32.
    assert whole["temporary"] == (2 + 4) * 500_000 / 4
    assert staged["gradients"] == whole["gradients"] / 2
    assert staged["temporary"] == whole["temporary"] / 2


@pytest.mark.parametrize("stage", [1, 2])
@pytest.mark.parametrize(
    ("accelerator", "ranks", "copied"),
    [("cuda", 1, 1), ("cuda", 4, 1 / 4), ("cpu", 1, 1), ("cpu", 4, 1)],
)
def test_a_gpu_needs_room_for_a_copy_of_its_own_part_of_the_weights(
    accelerator, ranks, copied, stage
):
    rank = rank_of(zero_stage=stage, ranks_per_node=ranks, accelerator=accelerator)
    flat, _ = rank.optimizer_init()
    assert flat == {"weights": 2 * NUMBER, "temporary": copied * 2 * NUMBER}


@pytest.mark.parametrize("ranks", [1, 2])
def test_without_zero_gradients_are_copied_after_the_backward_pass(ranks):
    rank = rank_of(zero_stage=0, precision="fp32", ranks_per_node=ranks)
    after = rank.backward(NO_PASS)[-1]
    assert after["gradients"] == after["temporary"] == 4 * NUMBER


@pytest.mark.parametrize(("ranks", "larger"), [(1, 14), (7, 2), (14, 2)])
def test_a_rank_never_loads_while_it_saves(ranks, larger):
    # In bf16 it loads 2 bytes a parameter at ZeRO-2, and all together save 14.
    on_gpus = {"zero_stage": 2, "ranks_per_node": ranks, "accelerator": "cuda"}
    plan = make_plan(num_parameters=NUMBER, precision="bf16", **on_gpus)
    each = predict_memory(plan).main_memory_bytes / ranks - PROCESS_BYTES
    assert each == pytest.approx(larger * NUMBER)


@pytest.mark.parametrize(
    ("accelerator", "ranks", "passes", "each"),
    [
        # A copy in bf16 as it is reduced, and what gloo holds or the part in fp32.
        ("cuda", 1, 1, 2),
        ("cuda", 4, 4, 2 + 4 / 4),
        ("cpu", 4, 1, 2 + 2),
        ("cpu", 4, 4, 2 + 2),
        ("cpu", 1, 4, 2 + 4),
    ],
)
def test_stage_3_copies_the_gradients_of_a_bucket_as_it_reduces_them(
    accelerator, ranks, passes, each
):
    rank = rank_of(
        zero_stage=3,
        accelerator=accelerator,
        ranks_per_node=ranks,
        gradient_accumulation_steps=passes,
    )
    assert rank.backward(NO_PASS)[-1]["temporary"] == each * NUMBER


def test_a_full_bucket_is_reduced_while_activations_are_held():
    elements = 60_000_000
    first = Moment(800, 0, 0, 0, 0)
    second = Moment(600, 0, 10, 2 * elements, 10)
    passes = PassMemory(1, (first,), (first, second), 0)
    on_gpus = {"zero_stage": 3, "accelerator": "cuda"}
    rank = rank_of((elements,), num_parameters=elements, **on_gpus)
    moments = [
        (moment["activations"], moment["temporary"]) for moment in rank.backward(passes)
    ]
    bucket = 2 * REDUCE_BUCKET_SIZE
    # The weight is larger than the bucket: at the end its gradient may be there, whole.
    assert moments == [(800, 0), (600, 10 + bucket), (0, 2 * elements)]
