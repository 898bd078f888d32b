"""`show-tokens`: what is trained is seen, and data cannot look like anything else."""

import json
import subprocess
import sys
from types import SimpleNamespace
from typing import get_args

import numpy as np
import pytest

from retune.artifacts.publishing import sha256
from retune.cli.main import main
from retune.settings.tokenize import Overlong
from retune.showing.page import body, title
from retune.showing.row import Row
from retune.showing.rows import Rows
from retune.showing.style import COLOURED, SIGNED, SIGNS
from retune.terminal.colours import has_colours
from retune.tokens.store import COUNT, labels_file, open_array
from retune.tokens.tokenizer import ModelTokenizer
from tiny_facts import tiny_facts
from tiny_tokenizers import KINDS
from token_files import make_index, write_packed

BOS, EOS, UNKNOWN_ID = 1, 2, 999
LENGTH = 16


@pytest.fixture
def tokenizer(tmp_path):
    return tokenizer_of("byte_level", tmp_path)


def tokenizer_of(kind, folder):
    KINDS[kind]().save(str(folder / "tokenizer.json"))
    return ModelTokenizer(folder, 1000, (BOS, EOS))


def encode(tokenizer, text):
    return next(iter(tokenizer.encode([text])))


def make_row(tokenizer, *parts, segments=None):
    """Return a row of texts and tokens; in a list, they are trained."""
    ids, trained = [], []
    for part in parts:
        for piece in part if isinstance(part, list) else [part]:
            new = [piece] if isinstance(piece, int) else encode(tokenizer, piece)
            ids += new
            trained += [isinstance(part, list)] * len(new)
    segments = np.array([[0, len(ids)]] if segments is None else segments)
    return Row(0, np.array(ids), np.array(trained, bool), segments.reshape(-1, 2))


@pytest.mark.parametrize(
    ("parts", "shown"),
    [
        # Which spans are trained, also the token that ends an answer, and line by line.
        ((BOS, "Q", ["A", EOS]), "⟨<s>⟩Q⟦A⟨</s>⟩⟧\n"),
        ((BOS, "Q", [" A"], EOS), "⟨<s>⟩Q⟦ A⟧⟨</s>⟩\n"),
        ((BOS, ["a\n\nb\n", EOS]), "⟨<s>⟩⟦a↵⟧\n⟦↵⟧\n⟦b↵⟧\n⟦⟨</s>⟩⟧\n"),
        ((BOS, "Q\n", ["A"]), "⟨<s>⟩Q↵\n⟦A⟧\n"),
        ((BOS, ["A"], "\n"), "⟨<s>⟩⟦A⟧↵\n"),
        # The first token is predicted by none.
        (([BOS, "A"],), "⟨<s>⟩⟦A⟧\n"),
        (([BOS],), "⟨<s>⟩\n"),
        # What only looks like a special token, or like a mark of ours, is text.
        ((BOS, "</s>", [EOS]), "⟨<s>⟩</s>⟦⟨</s>⟩⟧\n"),
        ((BOS, "⟦x⟧"), r"⟨<s>⟩⟨\u27e6⟩x⟨\u27e7⟩" + "\n"),
        ((BOS, "\x1b[31m\t\r\n"), "⟨<s>⟩⟨\\x1b⟩[31m⟨\\t⟩⟨\\r⟩↵\n"),
        # Characters of several tokens.
        ((BOS, ["谢谢🙂"]), "⟨<s>⟩⟦谢谢🙂⟧\n"),
        ((BOS, UNKNOWN_ID), "⟨<s>⟩⟨token 999⟩\n"),
    ],
)
def test_trained_text_is_seen(tokenizer, parts, shown):
    assert body(make_row(tokenizer, *parts), LENGTH, tokenizer, SIGNED) == shown


def test_a_character_that_a_border_divides_is_seen_to_be_divided(tokenizer):
    first, *others = encode(tokenizer, "谢")
    row = make_row(tokenizer, BOS, first, others)
    assert body(row, LENGTH, tokenizer, SIGNED) == "⟨<s>⟩�⟦��⟧\n"


@pytest.mark.parametrize("kind", ["byte_level", "byte_fallback", "unigram"])
def test_no_space_is_lost_where_a_span_begins(kind, tmp_path):
    tokenizer = tokenizer_of(kind, tmp_path)
    ids = encode(tokenizer, "the lazy dog")
    for border in range(1, len(ids)):
        row = make_row(tokenizer, BOS, *ids[:border], ids[border:])
        shown = body(row, LENGTH, tokenizer, SIGNED)
        assert shown.translate({ord(sign): None for sign in "⟦⟧"}).endswith(
            "the lazy dog\n"
        )


CUT = "▌✂ cut: the model sees what follows by itself; no loss for its first token\n"


@pytest.mark.parametrize(
    ("segments", "shown", "trained"),
    [
        ([[0, 5]], "⟦bcde⟧\n", 4),
        ([[0, 3], [3, 2]], f"⟦bc⟧\n{CUT}d⟦e⟧\n", 3),
        ([[0, 3]], "⟦bc⟧\n▌✂ 2 tokens left out\n✂de✂\n", 2),
        ([[2, 3]], f"▌✂ 2 tokens left out\n✂ab✂\n{CUT}c⟦de⟧\n", 2),
        ([], "▌✂ all left out: no block has it\n✂abcde✂\n", 0),
    ],
)
def test_cuts_are_seen(tokenizer, segments, shown, trained):
    row = make_row(tokenizer, list("abcde"), segments=segments)
    expected = shown if shown.startswith("▌") or not segments else f"a{shown}"
    assert body(row, LENGTH, tokenizer, SIGNED) == expected
    assert f", {trained} trained (" in title(row, 1, LENGTH, SIGNED)


@pytest.mark.parametrize(
    ("parts", "why"),
    [
        ((["abcde"],), "it is longer than sequence_length"),
        (("abcde",), "nothing of it is trained"),
    ],
)
def test_why_a_row_is_left_out_is_said(tokenizer, parts, why):
    row = make_row(tokenizer, *parts, segments=[])
    shown = body(row, 4, tokenizer, SIGNED)
    assert shown == f"▌✂ all left out: {why}\n✂abcde✂\n"


@pytest.mark.parametrize("style", [SIGNED, COLOURED])
def test_no_control_character_or_sign_of_the_data_is_printed_as_it_is(style):
    before, after = style.special
    codes = [*range(0x20), *range(0x7F, 0xA1), 0x200B, 0x2028, 0x202E, 0xFEFF]
    for char in [*map(chr, codes), *SIGNS]:
        if char != "\n":
            shown = style.visible(char)
            assert char not in shown.removeprefix(before).removesuffix(after)
        assert char not in style.special_token(f"<{char}>")[len(before) : -len(after)]


def test_colours_end_with_each_line(tokenizer):
    row = make_row(tokenizer, BOS, "a\nb", ["c\nd", EOS])
    shown = body(row, LENGTH, tokenizer, COLOURED)
    green, plain = COLOURED.trained
    for line in shown.splitlines():
        assert line.count(green) == line.count(plain)
    assert shown.splitlines()[1:] == [
        f"\x1b[2mb\x1b[22m{green}c↵{plain}",
        f"{green}d\x1b[7m</s>\x1b[27m{plain}",
    ]


@pytest.mark.parametrize(
    ("is_terminal", "environment", "colours"),
    [
        (True, {}, True),
        (False, {}, False),
        (True, {"TERM": "dumb"}, False),
        (True, {"NO_COLOR": "1"}, False),
        (True, {"NO_COLOR": ""}, True),
        (False, {"FORCE_COLOR": "1"}, True),
        (True, {"NO_COLOR": "1", "FORCE_COLOR": "1"}, False),
    ],
)
def test_colours_are_for_terminals(is_terminal, environment, colours):
    stream = SimpleNamespace(isatty=lambda: is_terminal)
    assert has_colours(stream, environment) is colours


@pytest.mark.parametrize(
    ("packing", "overlong"),
    [
        ("wrap", "split"),
        ("none", "drop"),
        *(("best_fit", what) for what in get_args(Overlong) if what != "error"),
    ],
)
@pytest.mark.parametrize("has_answers", [True, False])
def test_as_many_tokens_are_shown_trained_as_training_predicts(
    packing, overlong, has_answers, tmp_path
):
    generator = np.random.default_rng(0)
    rows = [np.arange(size) for size in generator.integers(1, 3 * LENGTH, 50)]
    masks = [(generator.random(len(row)) < 0.3) & (row > 0) for row in rows]
    write_packed(
        *(tmp_path, "train", rows, masks if has_answers else None),
        length=LENGTH,
        packing=packing,
        overlong=overlong,
    )
    predicted = open_array(labels_file(tmp_path, "train"), COUNT)
    shown = Rows(tmp_path, "train")
    assert sum(shown[n].counted.sum() for n in range(len(rows))) == predicted.sum()


@pytest.fixture
def store(tmp_path):
    """Return the options of the folders of a store of five rows."""
    base, tokens = tmp_path / "base", tmp_path / "tokens"
    for folder in (base, tokens):
        folder.mkdir()
    tokenizer = tokenizer_of("byte_level", base)
    tiny_facts(bos_token_id=BOS, eos_token_id=EOS).write(base)
    rows = [make_row(tokenizer, BOS, f"Q{n}", [f"A{n}", EOS]) for n in range(5)]
    write_packed(tokens, "validation", [], [], length=LENGTH)
    packed_rows = [row.ids for row in rows], [row.trained for row in rows]
    write_packed(tokens, "train", *packed_rows, length=LENGTH)
    tokenizer_sha256 = sha256(base / "tokenizer.json")
    make_index(
        sequence_length=LENGTH, has_answers=True, tokenizer_sha256=tokenizer_sha256
    ).write(tokens)
    return ["--tokens", str(tokens), "--base", str(base)]


def test_the_first_rows_are_shown(store, capsys):
    assert main(["show-tokens", *store]) == 0
    legend, *rows = capsys.readouterr().out.split("\n\n")
    assert "⟦trained⟧   not trained" in legend
    assert "\n".join(rows).splitlines() == [
        line
        for n in range(3)
        for line in (
            f"▌row {n} of 5: 6 tokens (sequence_length: 16), 3 trained (50.0 %)",
            f"⟨<s>⟩Q{n}⟦A{n}⟨</s>⟩⟧",
        )
    ]


@pytest.mark.parametrize(("row", "numbers"), [([], range(5)), (["--row", "3"], [3])])
def test_json_has_a_line_per_row(store, capsys, row, numbers):
    assert main(["show-tokens", "--json", *row, *store[:2]]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["row"] for line in lines] == list(numbers)
    for line in lines:
        assert line["trained"] == [False] * 3 + [True] * 3
        assert (line["ids"][0], line["ids"][-1]) == (BOS, EOS)


def test_of_texts_all_is_trained_but_the_first_token(tmp_path, capsys):
    write_packed(tmp_path, "train", [np.array([BOS, 7, 8])], length=2, packing="wrap")
    assert main(["show-tokens", "--json", "--tokens", str(tmp_path)]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "row": 0,
        "ids": [BOS, 7, 8],
        "trained": [False, True, True],
    }


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--tokens", "none"], "--tokens: there is no file none/tokens.json: run"),
        (["--base", "none"], "--base: there is no file none/model_facts.json: run"),
        (["--split", "validation"], "--split: validation has no rows in "),
        (["--row", "5"], "--row: there is no row 5 in train: they go from 0 to 4"),
        (["--row", "-1"], "--row: there is no row -1 in train: they go from 0 to 4"),
    ],
)
def test_what_is_not_there_is_told_in_a_line(store, capsys, options, told):
    assert main(["show-tokens", *store, *options]) == 1
    out, error = capsys.readouterr()
    assert error.startswith(f"error: {told}")
    assert (out, error.count("\n")) == ("", 1)


def test_another_tokenizer_shows_nothing(store, tmp_path, capsys):
    tokenizer_of("unigram", tmp_path / "base")
    assert main(["show-tokens", *store]) == 1
    out, error = capsys.readouterr()
    assert "/base/tokenizer.json is not the tokenizer that made " in error
    assert out == ""


def test_a_reader_may_leave(tmp_path):
    rows = [np.arange(3, 300)] * 1000
    write_packed(tmp_path, "train", rows, length=300)
    command = [sys.executable, "-m", "retune", "show-tokens", "--json", "--tokens"]
    with subprocess.Popen(
        [*command, str(tmp_path)],
        env={"PYTHONPATH": ":".join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline().startswith('{"row": 0, "ids": [3, 4,')
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 0


def test_it_loads_nothing_heavy():
    code = "import sys, retune.showing.printing; print('torch' in sys.modules)"
    shown = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert shown == "False\n"
