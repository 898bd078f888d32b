"""Blocks hold every token once; labels stay within documents; order is fixed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retune.publishing import write_json
from retune.training.packing import (
    IGNORE_INDEX,
    PackedBlocks,
    blocks_of_step,
    share_of_rank,
)


@pytest.fixture(scope="module")
def make_blocks(tmp_path_factory):
    def make(lengths, sequence_length):
        folder = tmp_path_factory.mktemp("tokens")
        stream = np.arange(sum(lengths))
        stream.astype("<u2").tofile(folder / "train.tokens.bin")
        starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
        starts.astype("<i8").tofile(folder / "train.documents.bin")
        write_json(
            folder / "tokens.json",
            {"sequence_length": sequence_length, "dtype": "<u2"},
        )
        return PackedBlocks(folder, "train")

    return make


lengths = st.lists(st.integers(2, 30), min_size=1, max_size=20)


@given(lengths=lengths, sequence_length=st.integers(2, 16))
def test_every_token_is_in_one_block_in_order(make_blocks, lengths, sequence_length):
    blocks = make_blocks(lengths, sequence_length)
    if len(blocks) == 0:
        assert sum(lengths) < sequence_length
        return
    batch = blocks.batch(np.arange(len(blocks)))
    seen = batch.input_ids.ravel()
    assert (seen == np.arange(len(seen))).all()
    assert sum(lengths) - len(seen) < sequence_length


@given(lengths=lengths, sequence_length=st.integers(2, 16))
def test_labels_are_the_next_token_of_the_same_document(
    make_blocks, lengths, sequence_length
):
    blocks = make_blocks(lengths, sequence_length)
    document_of = np.repeat(np.arange(len(lengths)), lengths)
    for block in range(len(blocks)):
        batch = blocks.batch(np.array([block]))
        tokens, labels = batch.input_ids[0], batch.labels[0]
        positions = batch.position_ids[0]
        for place, token in enumerate(tokens):
            is_last = place + 1 == sequence_length
            follows = not is_last and document_of[token] == document_of[token + 1]
            assert labels[place] == (token + 1 if follows else IGNORE_INDEX)
            starts = place == 0 or document_of[token] != document_of[token - 1]
            assert positions[place] == (0 if starts else positions[place - 1] + 1)
        assert blocks.num_labels(np.array([block])) == (labels != IGNORE_INDEX).sum()


@given(
    num_blocks=st.integers(1, 40),
    batch_size=st.integers(1, 50),
    seed=st.integers(0, 3),
)
def test_each_epoch_sees_every_block_once(num_blocks, batch_size, seed):
    steps = -(-2 * num_blocks // batch_size)
    order = np.concatenate(
        [blocks_of_step(step, batch_size, num_blocks, seed) for step in range(steps)]
    )
    for epoch in range(2):
        part = order[epoch * num_blocks : (epoch + 1) * num_blocks]
        assert sorted(part) == list(range(num_blocks))


@pytest.mark.parametrize(("world_size", "micro"), [(1, 8), (2, 4), (2, 2), (4, 1)])
def test_any_number_of_ranks_shares_the_same_global_batch(world_size, micro):
    blocks = blocks_of_step(3, 8, 100, seed=0)
    parts = [
        share_of_rank(blocks, rank, world_size, micro) for rank in range(world_size)
    ]
    assert all(part.shape == (8 // world_size // micro, micro) for part in parts)
    assert sorted(np.concatenate([p.ravel() for p in parts])) == sorted(blocks)


def test_another_seed_is_another_order():
    first, second = (blocks_of_step(0, 50, 50, seed) for seed in (0, 1))
    assert (first != second).any()
