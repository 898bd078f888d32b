import math

import numpy as np
import pytest

from retune.evaluation.bootstrap import bits_per_byte_change, resample_ratios, win_rate


def synthetic(documents: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return base and tuned nll, which share each document's difficulty, and bytes.

    The tuned model is better by 0.5 bits per byte in expectation.
    """
    generator = np.random.default_rng(seed)
    num_bytes = generator.integers(200, 3000, documents)
    difficulty = generator.normal(2.5, 0.6, documents)
    change = generator.normal(-0.5, 0.1, documents)
    base = difficulty * num_bytes * math.log(2)
    return base, base + change * num_bytes * math.log(2), num_bytes


def test_the_interval_holds_the_truth_in_about_95_of_100_worlds():
    held = 0
    for seed in range(200):
        change = bits_per_byte_change(*synthetic(80, seed), draws=400, seed=seed)
        held += change.low < -0.5 < change.high
    assert 178 <= held <= 198


def test_the_change_is_tuned_minus_base_so_that_negative_is_better():
    base, tuned = np.array([20.0, 40.0]), np.array([10.0, 20.0])
    change = bits_per_byte_change(base, tuned, np.array([10, 20]), draws=100, seed=0)
    assert change.change == pytest.approx(-1 / math.log(2))
    assert change.low == pytest.approx(change.high)


def test_large_documents_count_by_their_bytes():
    base, tuned = np.array([100.0, 1.0]), np.array([90.0, 2.0])
    change = bits_per_byte_change(base, tuned, np.array([99, 1]), draws=100, seed=0)
    assert change.change == pytest.approx(-9 / 100 / math.log(2))


def test_pairing_makes_the_interval_narrower():
    base, tuned, num_bytes = synthetic(200, seed=1)
    paired = bits_per_byte_change(base, tuned, num_bytes, draws=1000, seed=0)
    apart = (
        resample_ratios(tuned, num_bytes, 1000, seed=1)
        - resample_ratios(base, num_bytes, 1000, seed=2)
    ) / math.log(2)
    low, high = np.quantile(apart, (0.025, 0.975))
    assert paired.high - paired.low < (high - low) / 3


def test_the_resamples_spread_as_the_theory_of_ratio_estimators_says():
    base, _, num_bytes = synthetic(400, seed=2)
    ratio = base.sum() / num_bytes.sum()
    residuals = base - ratio * num_bytes
    error = math.sqrt((residuals**2).sum()) / num_bytes.sum()
    ratios = resample_ratios(base, num_bytes, 4000, seed=0)
    assert ratios.std() == pytest.approx(error, rel=0.08)
    assert ratios.mean() == pytest.approx(ratio, abs=error / 5)


def test_equal_models_change_nothing():
    base, _, num_bytes = synthetic(50, seed=3)
    assert bits_per_byte_change(base, base, num_bytes, 200, 0) == (0.0, 0.0, 0.0)
    assert win_rate(base, base) == 0.5


def test_the_seed_decides_the_interval():
    scores = synthetic(50, seed=4)
    first = bits_per_byte_change(*scores, draws=300, seed=7)
    assert first == bits_per_byte_change(*scores, draws=300, seed=7)
    assert first != bits_per_byte_change(*scores, draws=300, seed=8)


def test_few_documents_at_a_time_give_as_many_independent_resamples(monkeypatch):
    base, _, num_bytes = synthetic(50, seed=5)
    whole = resample_ratios(base, num_bytes, 501, seed=0)
    monkeypatch.setattr("retune.evaluation.bootstrap.GATHERED_DOCUMENTS", 120)
    pieces = resample_ratios(base, num_bytes, 501, seed=0)
    assert len(set(pieces)) == 501
    assert np.array_equal(pieces, whole)


def test_the_win_rate_counts_documents_and_halves_ties():
    base, tuned = np.array([3.0, 3.0, 3.0, 3.0]), np.array([2.0, 2.0, 3.0, 4.0])
    assert win_rate(base, tuned) == 0.625
