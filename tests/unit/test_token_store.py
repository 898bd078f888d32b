"""The folder of tokens gives back what was written, with its masks."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retune.tokens import trained_bits
from retune.tokens.store import (
    StoredSequences,
    open_trained,
    trained_file,
    written_split,
)
from token_files import DTYPE, write_index, write_packed

SEQUENCES = [np.array([5, 6, 7]), np.array([8, 9]), np.arange(20)]
MASKS = [np.array([False, True, False]), np.zeros(2, bool), np.arange(20) % 3 == 1]


def test_sequences_come_back_whole_with_their_masks(tmp_path):
    # None of them fits into a block.
    write_packed(tmp_path, "test", SEQUENCES, MASKS, length=2)
    stored = StoredSequences(tmp_path, "test")
    assert len(stored) == 3
    for found, ids, trained in zip(stored, SEQUENCES, MASKS, strict=True):
        assert found.ids.tolist() == ids.tolist()
        assert found.trained.tolist() == trained.tolist()
    assert stored[1].ids.tolist() == [8, 9]


def test_without_answers_all_tokens_but_the_first_are_trained(tmp_path):
    write_packed(tmp_path, "test", SEQUENCES, length=8)
    assert not trained_file(tmp_path, "test").exists()
    found = [each.trained.tolist() for each in StoredSequences(tmp_path, "test")]
    assert found[:2] == [[False, True, True], [False, True]]


def test_a_split_may_be_empty(tmp_path):
    packed = write_packed(tmp_path, "test", [], [], length=8)
    assert packed.blocks == packed.tokens == 0
    assert [*StoredSequences(tmp_path, "test")] == []


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("bits")


@given(
    sizes=st.lists(st.integers(0, 30), max_size=8),
    data=st.data(),
    piece=st.integers(1, 4),
)
def test_bits_are_read_and_counted_wherever_they_lie(folder, sizes, data, piece):
    total = sum(sizes)
    bits = np.array(data.draw(st.lists(st.booleans(), min_size=total, max_size=total)))
    masks = np.split(bits.astype(bool), np.cumsum(sizes))[:-1]
    places = np.array(sorted(data.draw(st.lists(st.integers(0, total), min_size=1))))
    with written_split(folder, "train", DTYPE, True) as stream:
        for mask in masks:
            stream.append(np.zeros(len(mask), int), [len(mask)], mask)
    assert (stream.tokens, stream.sequences) == (total, len(sizes))
    write_index(folder, total, has_answers=True)
    assert trained_file(folder, "train").stat().st_size == -(-total // 8)
    reader = open_trained(folder, "train", has_answers=True)
    assert reader.at(np.arange(total)).tolist() == bits.tolist()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trained_bits, "PIECE", piece)
        counts = reader.count_between(places[:-1], places[1:])
    parts = [bits[start:end] for start, end in pairwise(places)]
    assert counts.tolist() == [sum(part) for part in parts]
