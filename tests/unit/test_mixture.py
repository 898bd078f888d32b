"""Blocks of several sources, mixed by weight: evenly, and fixed for ever."""

import math
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retune.errors import RetuneError
from retune.settings.finetune import RowsPerEpoch
from retune.tokens.mixed_order import mixed_blocks_of_step
from retune.tokens.mixture import Mixture
from retune.tokens.order import blocks_of_step
from token_files import make_index, make_sources

SEED = 5


def mixed(weights, **blocks):
    """Return the mixture for sources with so many blocks."""
    index = make_index(32 * sum(blocks.values()), sources=make_sources(**blocks))
    return Mixture.of(index, weights)


def epoch_of(mixture, number):
    """Return the blocks of an epoch, in order."""
    return mixed_blocks_of_step(mixture, number, mixture.blocks_per_epoch, SEED)


def test_the_order_never_changes():
    # A change of these numbers changes every run that users have recorded.
    mixture = mixed({"b": 2, "c": 0.5}, a=3, b=2, c=4)
    assert epoch_of(mixture, 0).tolist() == [3, 3, 4, 0, 2, 6, 1, 7, 4]
    assert epoch_of(mixture, 1).tolist() == [4, 1, 2, 3, 8, 5, 0, 4, 3]


@pytest.mark.parametrize("weights", [{}, {"a": 1}, {"a": 1, "b": {"rows": 8}}])
def test_sources_that_are_all_read_once_are_read_as_without_a_mixture(weights):
    weights = {
        name: RowsPerEpoch(**weight) if isinstance(weight, dict) else weight
        for name, weight in weights.items()
    }
    mixture = mixed(weights, a=7, b=4)
    for step in range(6):
        expected = blocks_of_step(step, 4, 11, SEED)
        assert (
            mixed_blocks_of_step(mixture, step, 4, SEED).tolist() == expected.tolist()
        )


def test_tokens_without_sources_are_read_as_ever():
    mixture = Mixture.of(make_index(train_tokens=320), {})
    assert mixture.blocks_per_epoch == 10
    expected = blocks_of_step(2, 4, 10, SEED)
    assert mixed_blocks_of_step(mixture, 2, 4, SEED).tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("weight", "blocks", "places"),
    [
        (2, 10, 20),
        (0.5, 10, 5),
        (0.01, 10, 1),
        (0, 10, 0),
        (1.26, 10, 13),
        (3, 0, 0),
        # Each block has two documents.
        (RowsPerEpoch(rows=5), 10, 2),
        (RowsPerEpoch(rows=1), 10, 1),
        (RowsPerEpoch(rows=60), 10, 30),
    ],
)
def test_a_weight_is_a_number_of_blocks_per_epoch(weight, blocks, places):
    mixture = mixed({"a": weight}, a=blocks, b=3)
    assert mixture.blocks_per_epoch == places + 3
    for number in range(3):
        blocks_read = epoch_of(mixture, number)
        assert len(blocks_read) == places + 3
        assert (blocks_read < blocks).sum() == places


@given(
    blocks=st.lists(st.integers(0, 20), min_size=1, max_size=4),
    weights=st.lists(st.sampled_from([0, 0.3, 0.5, 1, 1.7, 3]), min_size=4, max_size=4),
    batch_size=st.integers(1, 50),
    seed=st.integers(0, 2**32 - 1),
)
def test_each_source_is_read_pass_after_pass(blocks, weights, batch_size, seed):
    named = {f"s{number}": count for number, count in enumerate(blocks)}
    by_name = dict(zip(named, weights, strict=False))
    if not any(named[name] * by_name[name] for name in named):
        return
    mixture = mixed(by_name, **named)
    steps = math.ceil(3 * mixture.blocks_per_epoch / batch_size)
    read = np.concatenate(
        [mixed_blocks_of_step(mixture, step, batch_size, seed) for step in range(steps)]
    )
    # However the order is cut into batches, it is the same: so also on resume.
    whole = mixed_blocks_of_step(mixture, 0, len(read), seed)
    assert (read == whole).all()
    epochs = read[: 3 * mixture.blocks_per_epoch].reshape(3, -1)
    start = 0
    for name, count in named.items():
        end = start + count
        own = [epoch[(epoch >= start) & (epoch < end)] for epoch in epochs]
        assert len({len(each) for each in own}) == 1
        if by_name[name] == 1:
            assert all((np.sort(each) == np.arange(start, end)).all() for each in own)
        # Over all epochs no block is read twice more than another.
        times = Counter(np.concatenate(own).tolist())
        numbers = [times[block] for block in range(start, end)]
        assert not numbers or max(numbers) - min(numbers) <= 1
        start = end


def test_half_of_a_source_is_the_other_half_in_the_next_epoch():
    mixture = mixed({"a": 0.5}, a=10, b=4)
    halves = [
        set(block for block in epoch_of(mixture, n) if block < 10) for n in (0, 1)
    ]
    assert len(halves[0]) == len(halves[1]) == 5
    assert halves[0] | halves[1] == set(range(10))


def test_passes_and_sources_have_orders_of_their_own():
    mixture = mixed({"a": 2, "b": 2}, a=30, b=30)
    read = epoch_of(mixture, 0)
    own = [read[read < 30], read[read >= 30] - 30]
    passes = {tuple(own[0][:30]), tuple(own[0][30:]), tuple(own[1][:30])}
    assert len(passes) == 3


def test_sources_are_mixed_all_through_an_epoch():
    mixture = mixed({"a": 2}, a=100, b=200)
    halves = epoch_of(mixture, 0).reshape(2, -1)
    for half in halves:
        # Five standard deviations of draws without replacement.
        assert abs((half < 100).sum() - 100) < 5 * 5


@pytest.mark.parametrize(
    ("weights", "blocks", "message"),
    [
        ({"c": 1}, {"a": 3, "b": 4}, r"finetune.mix.c: .* there are: a, b"),
        ({"c": 1}, {}, "finetune.mix.c: .* dataset has no sources"),
        ({"b": 0}, {"a": 0, "b": 4}, "finetune.mix: none .* has a training block"),
    ],
)
def test_what_cannot_be_mixed_is_refused(weights, blocks, message):
    with pytest.raises(RetuneError, match=message):
        mixed(weights, **blocks)


def test_the_estimates_of_jobs_need_no_numpy():
    # They are made where Snakemake runs, perhaps without the libraries of the steps.
    modules = "import sys, retune_workflow.job_requests; print(*sys.modules)"
    loaded = subprocess.check_output([sys.executable, "-c", modules], text=True).split()
    assert "retune.tokens.mixture" in loaded
    assert "numpy" not in loaded
