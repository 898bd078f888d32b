"""The card of the tokens: what people see of them is true, and short."""

import numpy as np
import pytest

from retune.artifacts.publishing import read_json, write_json
from retune.artifacts.tokens_card import FILE, Piece, TokensCard
from retune.artifacts.tokens_index import SplitSize
from retune.errors import RetuneError
from retune.settings import SPLITS
from retune.showing.row import Row
from retune.showing.rows import Rows
from retune.showing.scripts import script_of, shares_of_scripts
from retune.showing.shown_rows import (
    MOST_CHARACTERS,
    MOST_PIECES,
    MOST_TOKENS,
    longest_piece,
    shortened,
    shown_row,
)
from retune.showing.tokens_card import (
    bins_of,
    lengths_of,
    row_to_show,
    spread,
    write_card,
)
from retune.tokens.tokenizer import ModelTokenizer
from tiny_tokenizers import KINDS
from token_files import make_index, write_packed

BOS, EOS = 1, 2
LENGTH = 16


@pytest.fixture
def tokenizer(tmp_path):
    KINDS["byte_level"]().save(str(tmp_path / "tokenizer.json"))
    return ModelTokenizer(tmp_path, 1000, (BOS, EOS))


def encode(tokenizer, text):
    return next(iter(tokenizer.encode([text])))


def row_of(ids, trained=None, segments=None):
    """Return a row of which, unless told otherwise, all is read and trained."""
    trained = np.ones(len(ids), bool) if trained is None else np.array(trained, bool)
    segments = np.array([[0, len(ids)]] if segments is None else segments)
    return Row(0, np.array(ids), trained, segments.reshape(-1, 2))


def make_tokens(folder, sequences, masks):
    """Write a folder of tokens whose train split has these sequences, and no other."""
    for split in SPLITS:
        is_train = split == "train"
        write_packed(
            *(folder, split, sequences if is_train else [], masks if is_train else []),
            length=LENGTH,
        )
    sizes = {
        split: SplitSize(documents=0, sequences=0, tokens=0, bytes=0, blocks=0)
        for split in SPLITS
    }
    sizes["train"] = SplitSize(
        documents=len(sequences),
        sequences=len(sequences),
        tokens=sum(map(len, sequences)),
        bytes=0,
        blocks=0,
    )
    index = make_index(sequence_length=LENGTH, has_answers=True, splits=sizes)
    index.write(folder)


@pytest.fixture
def folder(tmp_path, tokenizer):
    """A folder of tokens with its card; the first sequence is longer than a block."""
    texts = [[BOS, *encode(tokenizer, "Q" * 40), *encode(tokenizer, "A"), EOS]]
    texts += [
        [BOS, *encode(tokenizer, f"Q{i}"), *encode(tokenizer, "A"), EOS]
        for i in range(8)
    ]
    ids = [np.array(text) for text in texts]
    masks = [np.arange(len(each)) >= len(each) - 2 for each in ids]
    make_tokens(tmp_path / "tokens", ids, masks)
    write_card(tmp_path / "tokens", tokenizer)
    return tmp_path / "tokens"


def test_the_card_has_lengths_scripts_and_rows_from_all_of_the_split(folder):
    card = TokensCard.read(folder)
    assert list(card.lengths) == ["train"]
    lengths = card.lengths["train"]
    assert (lengths.shortest, lengths.longest) == (5, len(Rows(folder, "train")[0].ids))
    assert sum(lengths.counts) == 9
    counts = dict(zip(card.bins, lengths.counts, strict=True))
    assert sum(n for end, n in counts.items() if end > LENGTH) == 1
    assert card.scripts == {"Latin": 1.0}
    assert [row.number for row in card.rows] == [1, 4, 7]
    assert [(p.use, p.is_special, p.text) for p in card.rows[0].pieces] == [
        ("seen", True, "<s>"),
        ("seen", False, "Q0"),
        ("trained", False, "A"),
        ("trained", True, "</s>"),
    ]
    assert card.rows[0].trained_tokens == 2


def test_a_row_that_nothing_is_learnt_of_is_shown_only_if_there_is_no_other(folder):
    rows = Rows(folder, "train")
    assert not rows[0].counted.any()
    assert row_to_show(rows, 0).number == 1
    assert row_to_show(rows, 5).number == 5


def test_if_nothing_is_learnt_of_any_row_the_first_is_shown(tmp_path):
    make_tokens(tmp_path, [np.array([BOS, EOS])] * 3, [np.zeros(2, bool)] * 3)
    assert row_to_show(Rows(tmp_path, "train"), 1).number == 1


def test_a_card_of_another_format_is_refused(folder):
    write_json(folder / FILE, read_json(folder / FILE) | {"format": 0})
    with pytest.raises(RetuneError, match=r"card.json.*format.*run tokenize again"):
        TokensCard.read(folder)


@pytest.mark.parametrize(
    ("sizes", "length", "bins"),
    [
        ([1, 16], 16, [1, 2, 3, 4, 6, 8, 11, 16]),
        ([12], 16, [16]),
        ([11, 17], 16, [11, 16, 23]),
        ([300, 1001], 1000, [354, 500, 707, 1000, 1414]),
        ([100], 16, [128]),
    ],
)
def test_a_bin_ends_at_the_length_of_a_block(sizes, length, bins):
    sizes = np.array(sizes)
    found = bins_of({"train": sizes}, length)
    assert found.tolist() == bins
    assert sum(lengths_of(sizes, found).counts) == len(sizes)


def test_every_length_is_in_a_bin_that_holds_it():
    sizes = np.arange(1, 3000)
    for length in (16, 100, 1000, 2048):
        bins = bins_of({"train": sizes}, length)
        counts = lengths_of(sizes, bins).counts
        assert counts == tuple(np.diff(np.minimum(bins, 2999), prepend=0).tolist())


@pytest.mark.parametrize(
    ("count", "most", "numbers"),
    [(0, 3, []), (1, 3, [0]), (2, 3, [0, 1]), (3, 3, [0, 1, 2]), (60, 3, [10, 30, 50])],
)
def test_rows_are_spread_over_the_split(count, most, numbers):
    assert spread(count, most) == numbers


@pytest.mark.parametrize(
    ("lengths", "most", "longest"),
    [
        ([], 10, 0),
        ([3, 4], 10, 4),
        ([3, 40], 10, 7),
        ([40, 3, 40], 13, 5),
        ([50, 60], 10, 5),
    ],
)
def test_only_long_pieces_are_shortened(lengths, most, longest):
    assert longest_piece(lengths, most) == longest
    assert sum(min(each, longest) for each in lengths) <= most


def test_a_shortened_piece_keeps_its_beginning_and_its_end():
    piece = Piece(use="trained", text="0123456789")
    short = shortened(piece, 6)
    assert (short.text, short.hidden, short.ending) == ("0123", 4, "89")
    assert shortened(piece, 10) == piece
    special = Piece(use="trained", is_special=True, text="0123456789")
    assert shortened(special, 6) == special


def test_a_long_row_is_short_and_says_what_is_missing(tokenizer):
    ids = [BOS, *encode(tokenizer, "lazy dog " * 9000), EOS]
    assert len(ids) > MOST_TOKENS
    row = shown_row(row_of(ids), tokenizer)
    assert sum(len(p.text) + len(p.ending) for p in row.pieces) <= MOST_CHARACTERS
    assert row.pieces[1].hidden > 0
    assert (row.tokens, row.hidden_tokens) == (len(ids), len(ids) - MOST_TOKENS)


def test_a_row_of_many_pieces_ends_after_some(tokenizer):
    ids = [BOS, EOS] * 100
    row = shown_row(row_of(ids), tokenizer)
    assert len(row.pieces) == MOST_PIECES
    assert row.hidden_tokens == len(ids) - MOST_PIECES


def test_cuts_and_what_no_block_has_are_seen(tokenizer):
    ids = encode(tokenizer, "abcdef")
    row = shown_row(row_of(ids, segments=[[0, 2], [2, 2]]), tokenizer)
    assert [(p.use, p.begins_part, p.text) for p in row.pieces] == [
        ("seen", False, "a"),
        ("trained", False, "b"),
        ("seen", True, "c"),
        ("trained", False, "d"),
        ("left_out", True, "ef"),
    ]
    assert row.hidden_tokens == 0


@pytest.mark.parametrize(
    ("letter", "script"),
    [
        *(("a", "Latin"), ("ß", "Latin"), ("ａ", "Latin"), ("я", "Cyrillic")),
        *(("谢", "Han"), ("か", "Hiragana"), ("カ", "Katakana"), ("한", "Hangul")),
        *(("λ", "Greek"), ("ع", "Arabic"), ("अ", "Devanagari")),
    ],
)
def test_a_letter_has_a_script(letter, script):
    assert script_of(letter) == script


def test_shares_of_scripts_are_those_of_letters_and_rare_ones_are_counted_together():
    assert shares_of_scripts(["12 ...", "\n"]) == {}
    assert shares_of_scripts(["ab c", "яя 5"]) == {"Latin": 0.6, "Cyrillic": 0.4}
    shares = shares_of_scripts(["a" * 4996 + "я谢λ한"])
    assert shares == {"Latin": 0.9992, "other scripts": 0.0008}
