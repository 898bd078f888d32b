"""Times of steps: each part by hand, and the order of strategies."""

import pytest

from plans import make_plan
from retune.planning.speeds import Speeds
from retune.planning.step_time import (
    CPU_OPTIMIZER_BYTES,
    OPERATION_S,
    OPTIMIZER_BYTES,
    PASSED_WEIGHT_S,
    SELECTIVE_OPERATION_S,
    STEPPED_WEIGHT_S,
    predict_step,
)
from retune.planning.trained_sizes import TrainedSizes
from retune.planning.work import Work

SPEEDS = Speeds(
    products=1e14,
    memory=1e12,
    link=1e11,
    host=1e10,
    network=2e10,
    nvme=1e9,
    main_memory=1e11,
    assumed=(),
)
WORK = Work(2e13, 1.5e11, 1000)
# As if there were no single weights, which the host would need time for.
NO_WEIGHTS = TrainedSizes(())
# 1 micro-batch of 2 sequences a step, on one GPU.
ONE = {
    **{"accelerator": "cuda", "precision": "bf16", "num_parameters": 10**9},
    **{"global_batch_size": 2, "micro_batch_size": 2, "gradient_accumulation_steps": 1},
}
FOUR = ONE | {"ranks_per_node": 4, "global_batch_size": 8}


def seconds(**changes):
    return predict_step(make_plan(**ONE | changes), WORK, SPEEDS, NO_WEIGHTS)


def test_one_gpu_computes_and_updates():
    time = seconds()
    assert time.computing == pytest.approx(0.2 + 0.15)
    assert time.optimizer == pytest.approx(10**9 * OPTIMIZER_BYTES / 1e12)
    assert time.communicating == time.offloading == time.waiting == 0
    assert time.seconds == pytest.approx(time.computing + time.optimizer)


def test_a_small_pass_takes_as_long_as_the_host_needs_to_start_it():
    def passes(work, size):
        plan = make_plan(**ONE | {"micro_batch_size": size})
        return predict_step(plan, work, SPEEDS, NO_WEIGHTS).computing

    small = Work(2e10, 1.5e8, 1000)
    assert passes(small, 2) == pytest.approx(1000 * OPERATION_S)
    # Twice as many sequences take no longer in one pass.
    twice = Work(2 * small.products, 2 * small.moved, small.operations)
    assert passes(twice, 4) == passes(small, 2)


def test_the_host_needs_time_for_each_weight():
    sizes = TrainedSizes(((10, 20), (3,)), frozen=(7,))
    small = Work(2e10, 1.5e8, 1000)

    def time(**changes):
        return predict_step(make_plan(**ONE | changes), small, SPEEDS, sizes)

    updating = 10**9 * OPTIMIZER_BYTES / 1e12
    assert time().optimizer == pytest.approx(updating + 3 * STEPPED_WEIGHT_S)
    host = 1000 * OPERATION_S
    for stage, weights in ((1, 3), (2, 3), (3, 4)):
        passed = host + weights * PASSED_WEIGHT_S[stage]
        assert time(zero_stage=stage).computing == pytest.approx(passed)
    selective = time(zero_stage=1, activation_checkpointing="selective").computing
    assert selective == pytest.approx(1000 * SELECTIVE_OPERATION_S)


def test_accumulation_computes_as_often():
    assert seconds(gradient_accumulation_steps=3).computing == pytest.approx(
        3 * seconds().computing
    )


@pytest.mark.parametrize(
    ("stage", "sent"),
    # Bytes per parameter in bf16, with two micro-batches.
    [(1, 2 + 2), (2, 2 * 2 + 2), (3, 2 * (2 * 2 + 2))],
)
def test_what_ranks_send(stage, sent):
    plan = make_plan(**FOUR | {"zero_stage": stage, "gradient_accumulation_steps": 2})
    # Nothing is hidden where nothing is computed.
    nothing = Work()
    time = predict_step(plan, nothing, SPEEDS, NO_WEIGHTS)
    alone = sent * 10**9 * 3 / 4 / 1e11
    assert time.communicating == pytest.approx(alone)
    # Beside enough computing half of it is hidden.
    beside = predict_step(plan, WORK, SPEEDS, NO_WEIGHTS).communicating
    assert beside == pytest.approx(alone / 2)


def test_between_nodes_the_network_is_slowest():
    plans = [make_plan(**FOUR | {"nodes": n, "ranks_per_node": 4 // n}) for n in (1, 2)]
    nothing = Work()
    one, two = (
        predict_step(plan, nothing, SPEEDS, NO_WEIGHTS).communicating for plan in plans
    )
    assert two == pytest.approx(5 * one)


def test_an_optimizer_in_main_memory_copies_and_computes_there():
    time = seconds(offload_optimizer="cpu")
    assert time.optimizer == 0
    copied, computed = 2 * 2e9 / 1e10, 10**9 * CPU_OPTIMIZER_BYTES / 1e11
    assert time.offloading == pytest.approx(copied + computed)


def test_slower_in_this_order():
    """More memory is saved by each of these, at the price of time."""
    strategies = [
        {"zero_stage": 2},
        {"zero_stage": 2, "offload_optimizer": "cpu"},
        {"zero_stage": 3, "offload_optimizer": "cpu", "offload_param": "cpu"},
        {"zero_stage": 3, "offload_optimizer": "nvme", "offload_param": "nvme"},
    ]
    times = [seconds(**strategy).seconds for strategy in strategies]
    assert times == sorted(times)
    assert times[0] < times[1] < times[3]


def test_a_pipeline_waits_for_its_first_and_last_micro_batch():
    time = seconds(pipeline_stages=4, ranks_per_node=4, gradient_accumulation_steps=8)
    assert time.waiting == pytest.approx(time.computing * 3 / 8)


def test_what_is_fused_is_counted_once():
    # The work is traced with Liger's kernels, and without compiled layers.
    assert seconds(use_liger_kernel=True) == seconds()
    assert seconds(torch_compile=True).computing < seconds().computing
