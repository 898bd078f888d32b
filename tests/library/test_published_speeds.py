"""Speeds that are predicted, beside those that others have measured and published."""

from itertools import combinations
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.mark.long
def test_strategies_are_put_in_the_order_in_which_they_were_measured(
    tmp_path, monkeypatch
):
    monkeypatch.syspath_prepend(BENCHMARKS)
    from published import is_faster, predict
    from published_trainings import a800

    results = [predict(one, tmp_path) for one in a800()]

    assert max(one.ratio for one in results) < 1.6
    assert min(one.ratio for one in results) > 1
    pairs = list(combinations(results, 2))
    right = sum(is_faster(a, b) == (a.tokens > b.tokens) for a, b in pairs)
    assert (right, len(pairs)) == (41, 45)
