"""Blocks hold every token that they should once, with its mask and its position."""

import tracemalloc
from dataclasses import dataclass
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retune.artifacts.tokens_index import Overlong as OverlongNumbers
from retune.errors import RetuneError
from retune.settings.tokenize import Overlong, Packing
from retune.tokens import packing as packing_module
from retune.tokens.blocks import IGNORE_INDEX, PackedBlocks
from retune.tokens.filling import best_fit
from retune.tokens.packing import pack_split
from retune.tokens.store import written_split
from token_files import DTYPE, write_index, write_packed

PADDING = 0
CUTS = [cut for cut in get_args(Overlong) if cut != "error"]
WAYS = [("wrap", "drop"), *((p, cut) for p in ("best_fit", "none") for cut in CUTS)]
assert {packing for packing, _ in WAYS} == set(get_args(Packing))


@dataclass(frozen=True)
class Case:
    """A split to pack. Its tokens are 1, 2, 3, ..., so each tells where it was."""

    sizes: list[int]
    trained: list[bool] | None
    length: int

    @property
    def sequences(self):
        return np.split(np.arange(1, sum(self.sizes) + 1), np.cumsum(self.sizes)[:-1])

    @property
    def masks(self):
        if self.trained is None:
            return None
        return np.split(np.array(self.trained), np.cumsum(self.sizes)[:-1])

    def is_trained(self, token):
        return self.trained is None or self.trained[token - 1]

    def is_learnt(self, part):
        return any(map(self.is_trained, part[1:]))


@st.composite
def cases(draw):
    sizes = draw(st.lists(st.integers(1, 40), min_size=1, max_size=15))
    bits = st.lists(st.booleans(), min_size=sum(sizes), max_size=sum(sizes))
    return Case(sizes, draw(st.none() | bits), draw(st.integers(2, 16)))


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    """Return a function that packs a case, and opens its blocks."""

    def pack(case, packing="wrap", overlong="drop"):
        folder = tmp_path_factory.mktemp("tokens")
        with pytest.MonkeyPatch.context() as patch:
            # Some blocks at a time, as with many tokens.
            patch.setattr(packing_module, "TOKENS_AT_ONCE", 40)
            packed = write_packed(
                *(folder, "train", case.sequences, case.masks),
                length=case.length,
                packing=packing,
                overlong=overlong,
            )
        return packed, PackedBlocks(folder, "train")

    return pack


def parts_of(case, overlong):
    """Return what of each sequence may fill a block, done the slow way."""
    length = case.length
    cut = {
        "drop": lambda s: [s] if len(s) <= length else [],
        "truncate_left": lambda s: [s[-length:]],
        "truncate_right": lambda s: [s[:length]],
        "split": lambda s: [s[at : at + length] for at in range(0, len(s), length)],
    }[overlong]
    return [[part.tolist() for part in cut(each)] for each in case.sequences]


def wrapped(case):
    """Return the segments of each block of `wrap`, done the slow way."""
    owners = np.repeat(np.arange(len(case.sizes)), case.sizes)
    stream = list(zip(owners, range(1, len(owners) + 1), strict=True))
    blocks = []
    for start in range(0, len(stream) - case.length + 1, case.length):
        inside = stream[start : start + case.length]
        segments = [
            [token for owner, token in inside if owner == each]
            for each in sorted({owner for owner, _ in inside})
        ]
        if any(map(case.is_learnt, segments)):
            blocks.append(segments)
    return blocks


def segments_of(batch, row):
    """Return the segments of a block without its padding, with the label of each."""
    restarts = np.flatnonzero(batch.position_ids[row] == 0)
    columns = batch.input_ids[row], batch.labels[row], batch.position_ids[row]
    parts = [np.split(column, restarts[1:]) for column in columns]
    found = []
    for tokens, labels, positions in zip(*parts, strict=True):
        assert (positions == np.arange(len(tokens))).all()
        if tokens[0] == PADDING:
            assert (tokens == PADDING).all()
            assert (labels == IGNORE_INDEX).all()
            assert len(found) == len(restarts) - 1, "padding comes last"
        else:
            found.append((tokens.tolist(), labels.tolist()))
    return found


def read_all(blocks):
    """Return the segments of all blocks."""
    if not len(blocks):
        return []
    batch = blocks.batch(np.arange(len(blocks)))
    assert batch.input_ids.shape == (len(blocks), blocks.sequence_length)
    return [segments_of(batch, row) for row in range(len(blocks))]


@settings(max_examples=200)
@given(case=cases(), way=st.sampled_from(WAYS))
def test_every_part_is_in_one_block_whole_and_in_order(pack, case, way):
    packing, overlong = way
    _, blocks = pack(case, packing, overlong)
    found = [[tokens for tokens, _ in block] for block in read_all(blocks)]
    if packing == "wrap":
        assert found == wrapped(case)
        return
    parts = [p for each in parts_of(case, overlong) for p in each if case.is_learnt(p)]
    if packing == "none":
        assert found == [[part] for part in parts]
    assert sorted(part for block in found for part in block) == parts


@settings(max_examples=200)
@given(case=cases(), way=st.sampled_from(WAYS))
def test_masks_travel_with_their_tokens_and_labels_stay_in_segments(pack, case, way):
    packed, blocks = pack(case, *way)
    total = 0
    for number, block in enumerate(read_all(blocks)):
        for tokens, labels in block:
            following = [t if case.is_trained(t) else IGNORE_INDEX for t in tokens[1:]]
            assert labels == [*following, IGNORE_INDEX]
        counted = sum(label != IGNORE_INDEX for _, row in block for label in row)
        assert counted == blocks.num_labels(np.array([number])) > 0
        total += counted
    assert total == blocks.num_labels(np.arange(len(blocks))) == packed.trained_tokens


@settings(max_examples=200)
@given(case=cases(), way=st.sampled_from(WAYS))
def test_the_numbers_are_those_of_the_blocks(pack, case, way):
    packing, overlong = way
    packed, blocks = pack(case, packing, overlong)
    assert packed.blocks == len(blocks)
    found = read_all(blocks)
    assert packed.tokens == sum(len(tokens) for block in found for tokens, _ in block)
    assert packed.tokens + packed.padding == len(blocks) * case.length
    left_out = sum(case.sizes) // case.length - len(blocks)
    assert packed.left_out_blocks == (left_out if packing == "wrap" else 0)
    if packing == "wrap":
        assert packed.overlong == OverlongNumbers()
        return
    parts = parts_of(case, overlong)
    unlearnt = sum(not case.is_learnt(part) for each in parts for part in each)
    long = [size > case.length for size in case.sizes]
    if overlong == "drop":
        expected = OverlongNumbers(dropped=unlearnt + sum(long))
    elif overlong == "split":
        expected = OverlongNumbers(dropped=unlearnt, split=sum(long))
    else:
        kept = [case.is_learnt(part) for [part] in parts]
        truncated = sum(np.array(long) & kept)
        expected = OverlongNumbers(dropped=unlearnt, truncated=truncated)
    assert packed.overlong == expected


@given(case=cases(), way=st.sampled_from(WAYS), data=st.data())
def test_blocks_know_their_sequences(pack, case, way, data):
    _, blocks = pack(case, *way)
    if not len(blocks):
        return
    some = np.array(data.draw(st.lists(st.integers(0, len(blocks) - 1), min_size=1)))
    owners = np.repeat(np.arange(len(case.sizes)), case.sizes)
    tokens = blocks.batch(some).input_ids
    expected = set(owners[tokens[tokens != PADDING] - 1])
    assert blocks.sequences_of(some).tolist() == sorted(expected)


@pytest.mark.parametrize("packing", ["best_fit", "none"])
def test_a_long_sequence_is_refused_if_that_is_wanted(pack, packing):
    case = Case([8, 9, 3, 20], None, 8)
    message = (
        r"^tokenize\.overlong: error, and row 1 \(counted from 0\) of train has 9"
        r" tokens, more than tokenize\.sequence_length \(8\), like 1 other row; write"
    )
    with pytest.raises(RetuneError, match=message):
        pack(case, packing, "error")
    packed, _ = pack(Case([8, 8], None, 8), packing, "error")
    assert packed.overlong == OverlongNumbers()


def test_wrap_wants_no_sequence_to_fit(pack):
    packed, _ = pack(Case([20], None, 8), "wrap", "error")
    assert packed.blocks == 2


@given(
    sizes=st.lists(st.integers(1, 12), min_size=1, max_size=60),
    capacity=st.integers(12, 20),
)
def test_best_fit_is_what_its_name_says(sizes, capacity):
    found = best_fit(np.array(sizes), capacity)
    room, expected = [], np.empty(len(sizes), int)
    for number in np.argsort(-np.array(sizes), kind="stable"):
        size = sizes[number]
        enough = [left for left in room if left >= size]
        # Of several blocks with the same room, any is as good.
        block = found[number] if enough else len(room)
        if not enough:
            room.append(capacity)
        assert room[block] == min(enough, default=capacity)
        room[block] -= size
        expected[number] = block
    assert (found == expected).all()


def test_best_fit_fills_blocks(pack):
    random = np.random.default_rng(0)
    sizes = random.integers(2, 33, 2000).tolist()
    packed, _ = pack(Case(sizes, None, 64), "best_fit")
    assert packed.padding / (packed.blocks * 64) < 0.01


@pytest.mark.parametrize("packing", ["wrap", "best_fit"])
def test_memory_depends_on_the_sequences_and_not_on_the_tokens(tmp_path, packing):
    used = []
    for size in (20, 400):
        ids, trained = np.arange(size), np.arange(size) % 3 > 0
        with written_split(tmp_path, "train", DTYPE, True) as stream:
            for _ in range(20_000):
                stream.append(ids, [size], trained)
        # As many segments and blocks.
        length = size * 4
        tracemalloc.start()
        pack_split(tmp_path, "train", DTYPE, length, packing, "drop", True)
        used.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert used[1] < 1.5 * used[0] + 2_000_000


def test_memory_of_wrapping_depends_on_neither(tmp_path):
    used = []
    for count in (300_000, 1_200_000):
        with written_split(tmp_path, "train", DTYPE, True) as stream:
            ids = np.zeros(8 * count, DTYPE)
            stream.append(ids, [8] * count, ids == 0)
        tracemalloc.start()
        pack_split(tmp_path, "train", DTYPE, 64, "wrap", "drop", True)
        used.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert used[1] < 1.1 * used[0]


def test_memory_of_training_depends_on_the_batch_only(tmp_path):
    ids = np.arange(8)
    with written_split(tmp_path, "train", DTYPE, False) as stream:
        for _ in range(200_000):
            stream.append(ids, [8])
    pack_split(tmp_path, "train", DTYPE, 64, "wrap", "drop", False)
    write_index(tmp_path, stream.tokens, sequence_length=64)
    tracemalloc.start()
    blocks = PackedBlocks(tmp_path, "train")
    blocks.batch(np.array([0, 400, len(blocks) - 1]))
    assert blocks.num_labels(np.arange(0, len(blocks), 1000)) == 25 * 8 * 7
    used = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert used < 100_000
