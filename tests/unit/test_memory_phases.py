"""What a rank is predicted to hold in the phases of a training, by where it runs."""

import pytest

from plans import make_plan
from retune.planning.activations import NOTHING, Moment, PassMemory
from retune.planning.deepspeed_config import REDUCE_BUCKET_SIZE, deepspeed_config
from retune.planning.deepspeed_sizes import DeepSpeedSizes
from retune.planning.given_config import merged
from retune.planning.hardware import Hardware
from retune.planning.memory import checkpoint_bytes, offloaded_bytes
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
    flat, *_ = rank.optimizer_init()
    assert flat == {"weights": shard, "temporary": copies * shard}


@pytest.mark.parametrize("offload", ["none", "cpu"])
def test_stage_3_gathers_each_weight_to_hook_on_to_it(offload):
    largest = 700_000
    rank = rank_of(
        (largest, NUMBER - largest),
        **{"zero_stage": 3, "accelerator": "cuda", "offload_optimizer": offload},
    )
    last = rank.optimizer_init()[-1]
    assert last["temporary"] == 2 * largest
    assert last["buffers"] == 2 * REDUCE_BUCKET_SIZE
    held = {"weights", "buffers", "temporary", "gradients"}
    assert {*last} - {"optimizer_states"} == held
    assert ("optimizer_states" in last) == (offload == "none")
    assert last["gradients"] == (2 * NUMBER if offload == "none" else 0)


MIB = 2**20


@pytest.mark.parametrize(
    ("name", "each"),
    [
        ("NVIDIA H100 80GB HBM3", 32 * MIB),
        ("NVIDIA H200 MIG 1g.18gb", 32 * MIB),
        ("NVIDIA GeForce RTX 4090", 8 * MIB + 128 * 2**10),
        ("NVIDIA A100-SXM4-80GB", 8 * MIB + 128 * 2**10),
        (None, 32 * MIB),
    ],
)
def test_two_threads_of_a_gpus_rank_have_a_workspace_each(name, each):
    plan = make_plan(accelerator="cuda", num_parameters=NUMBER)
    memory = predict_memory(plan, hardware=gpu(name))
    held = {phase.name: phase.bytes_by_kind for phase in memory.phases}
    for phase, kinds in held.items():
        # Before the first product of matrices there is none.
        has_products = phase not in ("load", "optimizer_init")
        assert kinds.get("workspaces", 0) == has_products * 2 * each, phase
    # PyTorch allocates them; the context it does not know.
    step = held["step"]
    assert memory.phases[4].tensor_bytes == sum(step.values()) - step["context"]
    on_cpu = predict_memory(make_plan(num_parameters=NUMBER))
    assert all("workspaces" not in phase.bytes_by_kind for phase in on_cpu.phases)


def gpu(name=None, memory_gb=None):
    """Return a machine with one GPU."""
    return Hardware("cuda", 1, 1, memory_gb, None, gpu_name=name)


@pytest.mark.parametrize("stage", [1, 2])
def test_weights_without_room_for_a_flat_copy_pass_through_main_memory_twice(stage):
    number = 10**9
    plan = make_plan(
        **{"precision": "bf16", "zero_stage": stage, "accelerator": "cuda"},
        **{"num_parameters": number, "offload_optimizer": "cpu"},
    )
    sizes = TrainedSizes(((number // 2, number // 4), (number // 4,)))

    def main_memory(sizes, **machine):
        return predict_memory(plan, sizes=sizes, hardware=gpu(**machine))

    # 2 GB of weights, a context of 0.7 GB, and 1.5 GB for a copy of the larger group.
    roomy = main_memory(sizes, memory_gb=4.3).main_memory_bytes
    assert main_memory(sizes, memory_gb=None).main_memory_bytes == roomy
    short = main_memory(sizes, memory_gb=4.1).main_memory_bytes
    # What passes at another time is not added: a checkpoint, 14 GB for this plan.
    assert short == roomy
    of_many = plan.model_copy(update={"ranks_per_node": 8})
    roomy, short = (
        predict_memory(of_many, sizes=sizes, hardware=gpu(memory_gb=there))
        for there in (4.3, 4.1)
    )
    # A rank loads 2 GB and saves less; its weights and the flat copy are 3 GB.
    more = short.main_memory_bytes - roomy.main_memory_bytes
    assert more == pytest.approx(8 * (3 - 2) * 10**9)


def main_memory_of(**changes):
    """Return the main memory of a rank on a GPU at stage 3, without what is offloaded.

    What passes through is left out: the checkpoint that is saved.
    """
    plan = make_plan(
        **{"precision": "bf16", "zero_stage": 3, "accelerator": "cuda", **changes}
    )
    memory = predict_memory(plan).main_memory_bytes - offloaded_bytes(plan, "cpu")
    return memory - PROCESS_BYTES - checkpoint_bytes(plan, plan.num_trained)


@pytest.mark.parametrize(
    ("number", "optimizer", "weights", "wanted"),
    [
        (10**8, "cpu", "cpu", 0),
        # Weights, two moments and gradients of a sub-group, in fp32.
        (10**8, "nvme", "none", 4 * 4 * 10**8),
        (3 * 10**9, "nvme", "none", 4 * 4 * 10**9),
        # Five buffers of 1e8 weights, and 1e9 weights that stay in main memory.
        (10**8, "cpu", "nvme", 2 * (5 * 10**8 + 10**8)),
        (10**9, "cpu", "nvme", 2 * (5 * 10**8 + 10**9)),
        # One more buffer for a sub-group of those that do not.
        (3 * 10**9, "cpu", "nvme", 2 * (5 * 10**8 + 10**9 + 10**9)),
    ],
)
def test_what_is_on_a_disk_has_buffers_in_main_memory(
    number, optimizer, weights, wanted
):
    found = main_memory_of(
        num_parameters=number, offload_optimizer=optimizer, offload_param=weights
    )
    assert found == pytest.approx(wanted)


def test_the_largest_frozen_weight_is_gathered_as_well():
    adapted = {
        **{"num_parameters": 3 * 10**9, "num_adapter_parameters": 10**6},
        **{"precision": "bf16", "zero_stage": 3, "accelerator": "cuda"},
    }
    plan = make_plan(**adapted, ranks_per_node=4)
    sizes = TrainedSizes(((10**4, 10**5),), frozen=(5 * 10**8, 10**6))

    def held_in_passes(plan):
        return Rank(plan, sizes, DeepSpeedSizes.of(deepspeed_config(plan))).passing()

    held = held_in_passes(plan)
    shard = 2 * (plan.num_parameters + plan.num_adapter_parameters) / 4
    # Those of up to 1e5 elements are always there.
    small = 10**4 + 10**5
    assert held["weights"] == shard + 2 * (10**9 + 5 * 10**8 + small)
    # Offloaded shards are copied to the GPU before they are gathered.
    offloaded = plan.model_copy(update={"offload_param": "cpu"})
    more = held_in_passes(offloaded)["buffers"] - held["buffers"]
    assert more == 2 * 5 * 10**8 / 4


@pytest.mark.parametrize("device", ["cpu", "nvme"])
@pytest.mark.parametrize("ranks", [1, 4])
def test_offloaded_weights_are_on_a_gpu_in_the_passes_alone(ranks, device):
    plan = {"zero_stage": 3, "accelerator": "cuda", "ranks_per_node": ranks}
    rank = rank_of(offload_optimizer=device, offload_param=device, **plan)
    assert rank.loaded == 0
    flat, hooked = rank.optimizer_init()
    assert sum(flat.values()) == hooked["weights"] == 0
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
    passes = PassMemory(1, (first,), (first, second), (NOTHING,))
    on_gpus = {"zero_stage": 3, "accelerator": "cuda"}
    rank = rank_of((elements,), num_parameters=elements, **on_gpus)
    moments = [
        (moment["activations"], moment["temporary"]) for moment in rank.backward(passes)
    ]
    bucket = 2 * REDUCE_BUCKET_SIZE
    # The weight is larger than the bucket: at the end its gradient may be there, whole.
    assert moments == [(800, 0), (600, 10 + bucket), (0, 2 * elements)]
