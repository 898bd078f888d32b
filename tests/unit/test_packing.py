"""Blocks hold every token once; labels stay within documents."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retune.tokens.packing import IGNORE_INDEX, PackedBlocks
from token_files import write_index


def write_blocks(folder, lengths, sequence_length):
    """Write documents of these lengths as `tokenize` does: tokens 0, 1, 2, ..."""
    np.arange(sum(lengths)).astype("<u2").tofile(folder / "train.tokens.bin")
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    starts.astype("<i8").tofile(folder / "train.documents.bin")
    write_index(folder, sum(lengths), sequence_length=sequence_length)


@pytest.fixture(scope="module")
def make_blocks(tmp_path_factory):
    def make(lengths, sequence_length):
        folder = tmp_path_factory.mktemp("tokens")
        write_blocks(folder, lengths, sequence_length)
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


@given(lengths=lengths, sequence_length=st.integers(2, 16))
def test_labels_are_counted_without_the_blocks(make_blocks, lengths, sequence_length):
    blocks = make_blocks(lengths, sequence_length)
    numbers = np.arange(len(blocks)).repeat(2)[::-1]
    if len(numbers):
        labels = blocks.batch(numbers).labels
        assert blocks.num_labels(numbers) == (labels != IGNORE_INDEX).sum()


@given(lengths=lengths, sequence_length=st.integers(2, 16), data=st.data())
def test_blocks_know_their_documents(make_blocks, lengths, sequence_length, data):
    blocks = make_blocks(lengths, sequence_length)
    if len(blocks) == 0:
        return
    some = data.draw(st.lists(st.integers(0, len(blocks) - 1), min_size=1))
    document_of = np.repeat(np.arange(len(lengths)), lengths)
    tokens = blocks.batch(np.array(some)).input_ids
    documents = blocks.documents_of(np.array(some))
    assert documents.tolist() == sorted(set(document_of[tokens.ravel()]))


def test_memory_depends_on_the_batch_only(tmp_path):
    write_blocks(tmp_path, [8] * 500_000, 64)
    tracemalloc.start()
    blocks = PackedBlocks(tmp_path, "train")
    blocks.batch(np.array([0, 400, len(blocks) - 1]))
    assert blocks.num_labels(np.arange(0, len(blocks), 1000)) == 63 * 8 * 7
    used = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert used < 100_000
