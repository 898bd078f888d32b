"""The order of the blocks: each once an epoch, shuffled, fixed for ever."""

import math
import tracemalloc
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retune.tokens.order import blocks_of_step, micro_batches_of_rank


def order_of(num_blocks, seed=0, epoch=0):
    """Return the order of one epoch."""
    return blocks_of_step(epoch, num_blocks, num_blocks, seed)


def test_the_order_never_changes():
    # A change of these numbers changes every run that users have recorded.
    assert order_of(10).tolist() == [2, 0, 8, 1, 9, 7, 4, 5, 6, 3]
    assert order_of(10, epoch=1).tolist() == [3, 2, 6, 0, 8, 9, 5, 4, 1, 7]
    assert order_of(10, seed=1).tolist() == [5, 2, 9, 6, 3, 0, 1, 4, 8, 7]
    assert blocks_of_step(3, 4, 10**12, 7).tolist() == [
        851772848316,
        266594394671,
        842145693473,
        223041148336,
    ]


@pytest.mark.parametrize(
    "num_blocks", [*range(1, 70), 97, 127, 128, 129, 1000, 1009, 4096, 4097, 65_537]
)
def test_an_epoch_has_every_block_once(num_blocks):
    for seed in range(3):
        order = order_of(num_blocks, seed, epoch=2 * seed)
        assert (np.sort(order) == np.arange(num_blocks)).all()


@given(
    num_blocks=st.integers(1, 40),
    batch_size=st.integers(1, 100),
    seed=st.integers(0, 2**64 + 3),
)
def test_batches_of_any_size_cut_the_same_order(num_blocks, batch_size, seed):
    steps = math.ceil(2 * num_blocks / batch_size)
    order = np.concatenate(
        [blocks_of_step(step, batch_size, num_blocks, seed) for step in range(steps)]
    )
    for epoch in range(2):
        part = order[epoch * num_blocks : (epoch + 1) * num_blocks]
        assert (part == order_of(num_blocks, seed, epoch)).all()


def test_another_seed_or_epoch_is_another_order():
    orders = {
        tuple(order_of(50, seed, epoch)) for seed in range(20) for epoch in range(20)
    }
    assert len(orders) == 400


def test_of_three_blocks_all_orders_are_as_likely():
    orders = Counter(tuple(order_of(3, seed)) for seed in range(3000))
    assert len(orders) == 6
    # Five standard deviations of a binomial distribution.
    assert all(abs(count - 500) < 5 * 20.4 for count in orders.values())


@pytest.mark.parametrize("num_blocks", [1000, 1024, 1025])
def test_the_order_looks_random(num_blocks):
    """Means over 200 epochs, against those of a random permutation."""
    orders = np.array([order_of(num_blocks, epoch=epoch) for epoch in range(200)])
    places = np.arange(num_blocks)
    # Fixed points: mean and variance 1.
    assert (orders == places).sum(axis=1).mean() == pytest.approx(1, abs=0.3)
    # Neighbours in the data that follow each other: 2 on average.
    steps = np.abs(np.diff(orders))
    assert (steps == 1).sum(axis=1).mean() == pytest.approx(2, abs=0.5)
    # Serial correlation, of standard deviation 1 / sqrt(n): none.
    deviation = orders - places.mean()
    serial = (deviation[:, 1:] * deviation[:, :-1]).mean() / places.var()
    assert abs(serial) < 5 / math.sqrt(orders.size)
    # Each tenth of the epoch sees each tenth of the data as often.
    tenths, _, _ = np.histogram2d(
        np.tile(places, 200), orders.ravel(), bins=[10, 10], range=[[0, num_blocks]] * 2
    )
    expected = orders.size / 100
    chi_square = ((tenths - expected) ** 2 / expected).sum()
    assert chi_square < 81 + 5 * math.sqrt(2 * 81)


def test_any_size_takes_the_memory_of_the_batch():
    tracemalloc.start()
    blocks = blocks_of_step(10**9, 64, 10**12, seed=0)
    used = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert used < 100_000
    assert len(set(blocks)) == 64
    assert 0 <= blocks.min() < blocks.max() < 10**12


@pytest.mark.parametrize(("world_size", "micro"), [(1, 8), (2, 4), (2, 2), (4, 1)])
def test_any_number_of_ranks_shares_the_same_global_batch(world_size, micro):
    blocks = blocks_of_step(3, 8, 100, seed=0)
    parts = [
        micro_batches_of_rank(blocks, rank, world_size, micro)
        for rank in range(world_size)
    ]
    assert all(part.shape == (8 // world_size // micro, micro) for part in parts)
    assert sorted(np.concatenate([p.ravel() for p in parts])) == sorted(blocks)
