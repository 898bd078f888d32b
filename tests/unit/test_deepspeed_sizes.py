"""Sizes in a user's DeepSpeed config: known to the prediction and to the search."""

import pytest

from given_configs import ZERO
from plans import make_plan
from retune.errors import RetuneError
from retune.planning.activations import NOTHING, Activations, Moment, PassMemory
from retune.planning.complete_config import put
from retune.planning.deepspeed_config import REDUCE_BUCKET_SIZE, deepspeed_config
from retune.planning.deepspeed_sizes import OF_ZERO, DeepSpeedSizes
from retune.planning.given_keys import KEPT
from retune.planning.given_plan import take_given
from retune.planning.gradients import Gradients
from retune.planning.hardware import Hardware
from retune.planning.memory_prediction import predict_memory
from retune.planning.offload_buffers import swapping_problem
from retune.planning.search import Training, search
from retune.planning.trained_sizes import TrainedSizes
from retune.settings import ConfigureSettings, HardwareSettings, TrainedWeightsSettings
from retune.units import GB
from tiny_facts import tiny_facts

LARGE = 2_000_000_000
# Of the keys that are written as they are, those that change no memory that is counted.
OF_NO_MEMORY = {
    # DeepSpeed gathers with one call whatever the bucket (runtime/utils.py:1021).
    *("allgather_bucket_size", "allgather_partitions"),
    # How a bucket is sent that is copied anyway.
    "use_multi_rank_bucket_allreduce",
    # As many as may be are taken to be gathered.
    "stage3_allgather_sequential",
    *("ignore_unused_parameters", "enable_sanity_checks", "log_trace_cache_warnings"),
    *("stage3_gather_16bit_weights_on_model_save", "offload_optimizer.fast_init"),
    "stage3_use_all_reduce_for_fetch_params",
    # Main memory as it is, page-locked or not; in what order it is read and written.
    *("offload_optimizer.pin_memory", "offload_param.pin_memory"),
    *("offload_optimizer.pipeline_read", "offload_optimizer.pipeline_write"),
}
# Those of which `plan.md` says that they are not counted.
NOT_COUNTED = {"stage3_module_granularity_threshold", "memory_efficient_linear"}
# Where each takes or saves memory: stage of ZeRO, and another value.
CHANGES = {
    "reduce_bucket_size": (2, LARGE),
    "overlap_comm": (2, False),
    "contiguous_gradients": (2, False),
    "reduce_scatter": (2, False),
    "round_robin_gradients": (2, True),
    "sub_group_size": (3, 10**7),
    "stage3_prefetch_bucket_size": (3, 0),
    "stage3_max_live_parameters": (3, 10**8),
    "stage3_max_reuse_distance": (3, 10**10),
    "stage3_param_persistence_threshold": (3, 10**9),
    "stage3_model_persistence_threshold": (3, 0),
    "offload_optimizer.buffer_count": (3, 8),
    "offload_param.buffer_count": (3, 8),
    "offload_param.buffer_size": (3, 10**9),
    "offload_param.max_in_cpu": (3, 10**8),
}
ON_DISK = {"offload_optimizer": "nvme", "offload_param": "nvme"}
# A model of 4 B.
LARGEST = 700_000_000
WEIGHTS = TrainedSizes(((LARGEST, *[100_000_000] * 3) * 4, (1000,)))


def sizes_of(plan, given):
    """Return the sizes of a plan with some keys changed."""
    config = deepspeed_config(plan)
    for key, value in given.items():
        put(config, key, value)
    return DeepSpeedSizes.of(config)


def memory_of(plan, given):
    """Return the memory of a plan with some keys of DeepSpeed's changed."""
    passes = PassMemory(1, (NOTHING,), (Moment(0, 0, 0, 8e9, 8e9),), (NOTHING,))
    sizes = sizes_of(plan, given)
    return predict_memory(plan, Activations((passes,)), WEIGHTS, deepspeed=sizes)


def backward_bytes(plan, given):
    return {one.name: one.total for one in memory_of(plan, given).phases}["backward"]


def plan_at(stage, **changes):
    """Return a plan on four GPUs, in bf16."""
    values = {"ranks_per_node": 4, "accelerator": "cuda", "num_parameters": 4 * 10**9}
    return make_plan(zero_stage=stage, precision="bf16", **values | changes)


def test_every_key_is_counted_named_or_known_to_take_nothing():
    of_zero = {key.removeprefix(f"{ZERO}.") for key in KEPT if key.startswith(ZERO)}
    assert of_zero == {*OF_ZERO.values(), *OF_NO_MEMORY, *NOT_COUNTED}
    assert len(of_zero) == len(OF_ZERO) + len(OF_NO_MEMORY) + len(NOT_COUNTED)
    assert set(CHANGES) == set(OF_ZERO.values())


@pytest.mark.parametrize("key", CHANGES)
def test_each_that_is_counted_changes_what_is_predicted(key):
    stage, value = CHANGES[key]
    plan = plan_at(stage, **(ON_DISK if key.startswith("offload_") else {}))
    assert memory_of(plan, {f"{ZERO}.{key}": value}) != memory_of(plan, {})


def test_what_is_sent_in_fp32_is_copied():
    plan = plan_at(2)
    more = backward_bytes(plan, {"communication_data_type": "fp32"})
    # A weight that is larger than a bucket is reduced by itself.
    assert more - backward_bytes(plan, {}) == 4 * LARGEST


def test_what_is_sent_in_another_type_of_as_many_bytes_is_copied():
    plan = plan_at(2)
    more = backward_bytes(plan, {"communication_data_type": "fp16"})
    assert more - backward_bytes(plan, {}) == 2 * LARGEST
    assert more > backward_bytes(plan, {"communication_data_type": "bf16"})


def test_stage_0_copies_what_is_sent_in_another_type():
    plan = make_plan(zero_stage=0, precision="fp32", num_parameters=4 * 10**9)
    as_they_are, in_bf16 = (
        Gradients(plan, WEIGHTS, sizes_of(plan, given)).added_up_at_stage_0()
        for given in ({}, {"communication_data_type": "bf16"})
    )
    # Of the bucket of 5e8 elements.
    assert (as_they_are, in_bf16) == (4 * 5 * 10**8, (4 + 2) * 5 * 10**8)


def test_two_buckets_of_a_user_take_what_they_take():
    plan = plan_at(2)
    more = backward_bytes(plan, {f"{ZERO}.reduce_bucket_size": LARGE})
    # In bf16 two of them, and a copy as the gradients of several ranks are reduced.
    expected = 2 * (LARGE - REDUCE_BUCKET_SIZE) + (LARGE - LARGEST)
    assert more - backward_bytes(plan, {}) == 2 * expected


@pytest.mark.parametrize(
    ("key", "value", "more"),
    [
        # In fp32 four more of the sub-group of 1e9 elements.
        ("offload_optimizer.buffer_count", 8, 4 * 4 * 10**9),
        ("offload_param.buffer_count", 8, 2 * 3 * 10**8),
        ("offload_param.buffer_size", 10**9, 2 * 5 * (10**9 - 10**8)),
        # Of 1e9 a tenth stays; a buffer of a sub-group writes the others.
        ("offload_param.max_in_cpu", 10**8, 2 * (10**8 + 10**9 - 10**9)),
    ],
)
def test_buffers_of_a_disk_are_those_of_the_user(key, value, more):
    plan = plan_at(3, **ON_DISK)
    found = memory_of(plan, {f"{ZERO}.{key}": value}).main_memory_bytes
    of_a_rank = (found - memory_of(plan, {}).main_memory_bytes) / 4
    assert of_a_rank == pytest.approx(more)


@pytest.mark.parametrize(
    ("ranks", "has"),
    [(1, "525,336,576 on one rank"), (4, "131,334,144 on each of 4 ranks")],
)
def test_a_weight_that_no_buffer_of_a_disk_holds_is_told(ranks, has):
    """The embedding of Llama 3.1 8B."""
    largest, key = 128_256 * 4096, f"{ZERO}.offload_param.buffer_size"
    plan = plan_at(3, **ON_DISK, ranks_per_node=ranks)
    problem = swapping_problem(plan, largest, sizes_of(plan, {}))
    number = has.partition(" ")[0].replace(",", "")
    assert "buffers hold 100,000,000 elements" in problem
    assert f"the largest weight has {has}; write" in problem
    assert problem.endswith(f"write configure.overrides.{key}: {number}")
    larger = sizes_of(plan, {key: int(number)})
    assert swapping_problem(plan, largest, larger) == ""
    on_eight = plan_at(3, **ON_DISK, ranks_per_node=8)
    assert swapping_problem(on_eight, largest, sizes_of(plan, {})) == ""
    in_memory = plan_at(3, offload_param="cpu", offload_optimizer="cpu")
    assert swapping_problem(in_memory, largest, sizes_of(plan, {})) == ""


def test_offloaded_shards_are_copied_as_far_ahead_as_the_user_says():
    plan = plan_at(3, offload_optimizer="cpu", offload_param="cpu")
    ahead = {f"{ZERO}.stage3_prefetch_bucket_size": LARGEST + 10**8}
    more = backward_bytes(plan, ahead) - backward_bytes(plan, {})
    # In bf16 a quarter of them on each of four ranks.
    assert more == 2 * 10**8 / 4


@pytest.mark.parametrize("stage", [2, 3])
def test_what_is_not_counted_is_named(stage):
    given = {f"{ZERO}.memory_efficient_linear": False}
    told = "zero_optimization.memory_efficient_linear: what it takes is not counted"
    assert (told in memory_of(plan_at(stage), given).unverified) == (stage == 3)
    assert told not in memory_of(plan_at(stage), {}).unverified


def trace(plan):
    """Return the passes of a model that keeps little."""
    moment = Moment(GB, 0, 0, 0, 0)
    return Activations((PassMemory(1, (moment,), (moment, moment), (moment,)),))


def hidden_size():
    raise RetuneError("no single hidden size")


def found(memory, overrides, **settings):
    """Return what is chosen for two GPUs with a user's DeepSpeed config.

    The model has no hidden size that an "auto" could follow.
    """
    settings = ConfigureSettings(overrides=overrides, global_batch_size=16, **settings)
    given = take_given(settings, HardwareSettings(accelerator="cuda", ranks_per_node=2))
    assert not given.problems
    training = Training(
        settings=given.settings,
        trained=TrainedWeightsSettings(),
        hardware=Hardware("cuda", 1, 2, memory, None, "A100"),
        facts=tiny_facts(num_parameters=10**9),
        sequence_length=2048,
        train_blocks=1600,
        given=given,
        hidden_size=hidden_size,
    )
    return search(training, trace)


def in_buckets(size):
    return {ZERO: {"reduce_bucket_size": size}}


def test_a_strategy_that_fits_is_chosen_with_the_buckets_of_the_user():
    usual = found(16.0, in_buckets(10**7))
    large = found(16.0, in_buckets(10**9))
    assert usual.memory.peak_bytes < 16 * GB
    assert large.memory.peak_bytes < 16 * GB
    assert usual.plan != large.plan
    assert usual.plan.offload_optimizer == "none"
    assert large.memory.peak.bytes_by_kind["buffers"] >= 2 * 10**9


def test_buckets_are_named_where_they_keep_all_from_fitting():
    with pytest.raises(RetuneError) as error:
        found(12.0, in_buckets(8 * 10**9))
    told = f"configure.overrides.{ZERO}.reduce_bucket_size: 5e7"
    assert told in str(error.value)


def test_what_a_config_does_not_go_with_is_not_chosen():
    in_fp32 = {"data_types": {"grad_accum_dtype": "fp32"}, "bf16": {"enabled": True}}
    result = found(80.0, in_fp32)
    assert result.plan.grad_accum_dtype == "fp32"
    considered = [result.plan, *(one.plan for one in result.others)]
    assert {plan.offload_optimizer for plan in considered} == {"none"}
    free = found(80.0, {"bf16": {"enabled": True}})
    assert "cpu" in {one.plan.offload_optimizer for one in free.others}


def test_an_auto_that_cannot_be_filled_in_rules_out_the_strategies_that_it_is_for():
    free = found(12.0, {"wall_clock_breakdown": False})
    of_stage_3 = {ZERO: {"stage3_prefetch_bucket_size": "auto"}}
    result = found(12.0, of_stage_3)
    assert 3 in {one.plan.zero_stage for one in free.others}
    considered = [result.plan, *(one.plan for one in result.others)]
    assert {plan.zero_stage for plan in considered} == {2}
    with pytest.raises(RetuneError, match="nothing fits"):
        found(2.0, of_stage_3)


@pytest.mark.parametrize("memory", [2.0, 80.0])
def test_a_config_that_goes_with_no_strategy_is_refused_whatever_fits(memory):
    with pytest.raises(RetuneError, match="^no single hidden size$"):
        found(memory, in_buckets("auto"))
    with pytest.raises(RetuneError, match="^no single hidden size$"):
        found(memory, {ZERO: {"stage3_prefetch_bucket_size": "auto", "stage": 3}})


def test_no_change_is_named_that_the_config_does_not_go_with():
    """Optimizer states are not offloaded where gradients are summed in fp32."""
    pinned = {
        **{"zero_stage": 2, "micro_batch_size": 1, "offload_param": "none"},
        "activation_checkpointing": False,
    }
    overrides = {"data_types": {"grad_accum_dtype": "fp32"}, "bf16": {"enabled": True}}
    with pytest.raises(RetuneError, match="nothing fits") as caught:
        found(8.0, overrides, **pinned)
    assert "hardware.gpu_memory_gb: " in str(caught.value)
    assert "offload_optimizer" not in str(caught.value)
