"""Steps and learning rates."""

import math

import pytest

from retune.settings import FinetuneSettings
from retune.training.schedules import (
    bf16_warnings,
    find_warnings,
    learning_rate,
    num_steps,
)


def rates(total=100, **settings):
    values = FinetuneSettings(learning_rate=1.0, **settings)
    return [learning_rate(values, step, total) for step in range(total)]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"epochs": 1}, 6),
        ({"epochs": 2.5}, 15),
        ({"epochs": 1, "max_steps": 4}, 4),
        ({"epochs": 0.01}, 1),
    ],
)
def test_whole_batches_only_and_at_least_one(settings, expected):
    assert num_steps(FinetuneSettings(**settings), 50, 8) == expected


def test_warm_up_rises_in_even_steps_to_the_peak():
    assert rates(warmup_ratio=0.1)[:10] == pytest.approx([i / 10 for i in range(1, 11)])


@pytest.mark.parametrize(
    "kind", ["cosine", "linear", "constant", "WarmupLR", "WarmupDecayLR"]
)
def test_a_number_of_warm_up_steps_replaces_the_share(kind):
    by_number = rates(lr_scheduler_type=kind, warmup_ratio=0.5, warmup_steps=10)
    assert by_number == rates(lr_scheduler_type=kind, warmup_ratio=0.1)
    without = rates(lr_scheduler_type=kind, warmup_ratio=0.5, warmup_steps=0)
    assert without[0] == pytest.approx(1, abs=0.01)


def test_cosine_ends_at_its_floor_and_passes_the_middle_half_way():
    values = rates(warmup_ratio=0, min_lr_ratio=0.1)
    assert values[-1] == pytest.approx(0.1)
    assert values[49] == pytest.approx(0.55)


def test_linear_falls_in_even_steps():
    values = rates(lr_scheduler_type="linear", warmup_ratio=0, min_lr_ratio=0)
    assert values[0] - values[1] == pytest.approx(values[97] - values[98])
    assert values[-1] == pytest.approx(0)


def test_constant_stays():
    assert set(rates(lr_scheduler_type="constant", warmup_ratio=0)) == {1.0}


def test_warmup_lr_rises_with_the_logarithm_and_stays():
    values = rates(lr_scheduler_type="WarmupLR", warmup_steps=8)
    assert values[:5] == pytest.approx([0, 0, 1 / 3, math.log(3) / math.log(8), 2 / 3])
    assert values[7] < 1
    assert set(values[8:]) == {1.0}


@pytest.mark.parametrize(
    ("settings", "blocks", "warnings"),
    [
        ({}, 200, []),
        ({"epochs": 0.8}, 200, []),
        ({"epochs": 4}, 40, []),
        ({"warmup_steps": 25}, 200, []),
        ({"warmup_ratio": 1}, 200, []),
        ({"max_steps": 5}, 200, []),
        (
            {},
            159,
            [
                "finetune.epochs: 1 of 159 blocks makes only 19 steps of 8: train more"
                " epochs, or lower configure.global_batch_size"
            ],
        ),
        (
            {"epochs": 0.16, "max_steps": 5},
            50,
            [
                "finetune.epochs: 0.16 of 50 blocks makes only 1 step of 8: train more"
                " epochs, or lower configure.global_batch_size"
            ],
        ),
        (
            {"epochs": 0.1},
            50,
            [
                "finetune.epochs: 0.1 of 50 blocks is less than one batch of 8: the"
                " only step trains 0.16 epochs"
            ],
        ),
        (
            {"warmup_steps": 50},
            200,
            [
                "finetune.warmup_steps: 50, but the run has 25 steps: it ends at 50.0%"
                " of finetune.learning_rate"
            ],
        ),
        (
            {"warmup_steps": 2, "max_steps": 1, "epochs": 1},
            5,
            [
                "finetune.epochs: 1 of 5 blocks is less than one batch of 8: the only"
                " step trains 1.6 epochs",
                "finetune.warmup_steps: 2, but the run has 1 step: it ends at 50.0% of"
                " finetune.learning_rate",
            ],
        ),
    ],
)
def test_a_length_that_is_hardly_meant_is_told(settings, blocks, warnings):
    values = FinetuneSettings(learning_rate=1e-5, **settings)
    assert find_warnings(values, blocks, 8) == warnings


def test_rates_whose_steps_bf16_would_lose_are_told():
    def told(is_in_bf16=True, **settings):
        return bf16_warnings(FinetuneSettings(**settings), is_in_bf16, total=100)

    (line,) = told(learning_rate=1e-5)
    assert line == (
        "configure.bf16_optimizer_states: true, but in 100.0 % of the steps the"
        " learning rate is below 3e-05, where a step changes less than a third of the"
        " weights in bf16: write false, or raise finetune.learning_rate or min_lr_ratio"
    )
    # The default peak decays: most of its steps are below.
    assert "in 55.0 % of the steps" in told(learning_rate=5e-5)[0]
    assert told(learning_rate=5e-5, lr_scheduler_type="constant") == []
    assert told(learning_rate=1e-4) == []
    assert told(learning_rate=1e-5, is_in_bf16=False) == []
    assert told(learning_rate=1e-5, lora={"r": 4, "lora_alpha": 8}) == []
