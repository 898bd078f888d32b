"""The search for a strategy: the fastest that fits, and what to do where none does."""

from dataclasses import replace

import pytest

from chosen_plans import CPU
from retune.errors import RetuneError
from retune.planning.activations import Activations, Moment, PassMemory
from retune.planning.choice import FREE_SHARE, kind_of
from retune.planning.choice_page import others_section, speed_section
from retune.planning.hardware import Hardware
from retune.planning.search import Training, search
from retune.planning.work import Work
from retune.settings import ConfigureSettings, TrainedWeightsSettings
from retune.units import GB
from tiny_facts import tiny_facts

LENGTH = 2048
# Of a sequence: bytes that are kept, by how activations are checkpointed, and the share
# of the time of all passes that this takes more.
KEPT = {False: (3 * GB, 0.0), "selective": (1.5 * GB, 0.1), True: (0.3 * GB, 0.33)}


def trace(plan):
    """Return what the passes of a model of 1 B take, about."""
    kept, more = KEPT[plan.activation_checkpointing]
    size = plan.sequence_length / LENGTH
    moment = Moment(kept * size, 0.1 * GB, 0, 0, 0)
    work = Work(1.2e13 * (1 + more) * size, 2e10 * (1 + more) * size, 2000)
    return Activations((PassMemory(1, (moment,), (moment,), (moment,), work),))


def gpus(memory, number=1, **values):
    return Hardware("cuda", 1, number, memory, None, "A100", **values)


def found(hardware, **settings):
    training = Training(
        settings=ConfigureSettings(global_batch_size=16, **settings),
        trained=TrainedWeightsSettings(),
        hardware=hardware,
        facts=tiny_facts(num_parameters=10**9),
        sequence_length=LENGTH,
        train_blocks=1600,
    )
    return search(training, trace)


def why(result, setting):
    return next(one.why for one in result.decisions if one.setting == setting)


def test_with_much_memory_nothing_is_saved():
    result = found(gpus(80.0))
    assert kind_of(result.plan) == "ZeRO-2"
    assert why(result, "activation_checkpointing").startswith("selective fits, 1.")
    assert "cpu fits" in why(result, "offload_optimizer")


@pytest.mark.parametrize("memory", [10, 12, 16, 20, 24, 32, 48, 80])
def test_what_is_chosen_fits_and_nothing_that_fits_is_much_faster(memory):
    result = found(gpus(float(memory)))
    limit = (1 - FREE_SHARE) * memory * GB
    assert result.memory.peak_bytes <= limit
    fitting = [one for one in result.others if one.memory.peak_bytes <= limit]
    assert all(result.step_seconds <= 1.031 * one.time.seconds for one in fitting), (
        result.plan
    )


def test_less_memory_is_slower():
    times = [found(gpus(memory)).step_seconds for memory in (80.0, 32.0, 20.0, 12.0)]
    assert times == sorted(times)
    assert times[0] < times[-1]


def test_what_is_pinned_is_not_chosen_otherwise():
    result = found(gpus(80.0), activation_checkpointing=True, zero_stage=3)
    assert result.plan.zero_stage == 3
    assert result.plan.activation_checkpointing is True
    assert why(result, "zero_stage") == "set in params.yaml"
    assert {one.plan.zero_stage for one in result.others} <= {3}


def test_where_all_is_pinned_nothing_is_refused():
    pinned = {
        **{"zero_stage": 2, "offload_optimizer": "none", "offload_param": "none"},
        **{"activation_checkpointing": False, "micro_batch_size": 16},
    }
    result = found(gpus(10.0), **pinned)
    assert result.plan.micro_batch_size == 16
    assert result.memory.peak_bytes > 10 * GB


def test_where_nothing_fits_it_says_what_would():
    with pytest.raises(RetuneError) as error:
        found(gpus(3.0), offload_optimizer="none")
    first, *closest = str(error.value).splitlines()
    assert first.startswith("hardware.gpu_memory_gb: 3, of which 2.8 GB can be used")
    assert len(closest) == 3
    # Each change that is named makes that strategy fit.
    assert "checkpointing, micro-batch 1" in closest[0]
    assert "hardware.gpu_memory_gb: " in closest[0]
    needed = float(closest[0].partition("hardware.gpu_memory_gb: ")[2].split(",")[0])
    fits = found(gpus(needed), offload_optimizer="none", activation_checkpointing=True)
    assert fits.plan.micro_batch_size == 1


def test_more_gpus_are_named_where_they_would_do():
    with pytest.raises(RetuneError, match=r"or \d+ GPUs"):
        found(gpus(10.0, number=2), offload_optimizer="none", offload_param="none")


def test_main_memory_counts_as_well():
    small = replace(gpus(16.0), cpu_memory_gb=8.0)
    with pytest.raises(RetuneError, match=r"nothing fits.*\n.*hardware.cpu_memory_gb"):
        found(small, zero_stage=2)
    assert found(replace(small, cpu_memory_gb=64.0)).plan.offload_optimizer == "cpu"


@pytest.mark.parametrize("hardware", [CPU, replace(gpus(80.0), gpu_memory_gb=None)])
def test_without_known_memory_rules_of_thumb_decide(hardware):
    result = found(hardware)
    assert not result.others
    assert result.plan.zero_stage == 2
    assert result.plan.offload_optimizer == "none"
    assert (result.step_seconds is None) == (hardware is CPU)


def test_a_larger_interval_asks_for_checkpointing():
    assert found(CPU, activation_checkpointing_interval=2).plan.activation_checkpointing
    result = found(gpus(80.0), activation_checkpointing_interval=2)
    assert result.plan.activation_checkpointing


def test_the_page_tells_times_costs_and_why_others_lost():
    result = found(gpus(20.0))
    text = speed_section(result, "The whole run", 100, 2.0)
    seconds = result.step_seconds
    assert f"about {seconds:.2g} s" in text
    assert f"{100 * seconds / 3600:,.1f} GPU-hours" in text
    assert f"{100 * seconds / 1800:,.2f} at 2 each" in text
    table = others_section(result).splitlines()[2:]
    assert len({len(line) for line in table if line.startswith("|")}) == 1
    assert "chosen" in table[2]
    assert any("does not fit by" in line for line in table)
    assert any("x slower" in line for line in table)


def test_speeds_that_nobody_declared_are_told():
    unknown = replace(gpus(80.0), gpu_name=None)
    text = speed_section(found(unknown), "The whole run", 0, None)
    assert "Assumed: the GPU is not given (hardware.gpu_name)" in text
    assert "whole run" not in text


def test_only_what_is_short_is_asked_for():
    short = replace(gpus(80.0), cpu_memory_gb=3.0)
    with pytest.raises(RetuneError) as error:
        found(short, zero_stage=2)
    first, *closest = str(error.value).splitlines()
    assert first.startswith("hardware.gpu_memory_gb: 80, ")
    assert "cpu_memory_gb: 3" in first
    assert all("fits with hardware.cpu_memory_gb: " in line for line in closest)


def test_where_optimizer_and_weights_are_is_told_apart():
    plan = found(gpus(80.0)).plan
    places = [("none", "none"), ("cpu", "none"), ("none", "cpu"), ("cpu", "cpu")]
    names = {
        kind_of(
            plan.model_copy(
                update={"offload_optimizer": optimizer, "offload_param": weights}
            )
        )
        for optimizer, weights in places
    }
    assert len(names) == 4
