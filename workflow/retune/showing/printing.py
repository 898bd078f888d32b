"""Prints rows to stdout, as text or as JSON."""

import json
import sys
from collections.abc import Iterable
from pathlib import Path

from retune.artifacts.model_facts import FILE, ModelFacts
from retune.artifacts.publishing import sha256
from retune.errors import RetuneError
from retune.settings import Split
from retune.showing.page import body, legend, title
from retune.showing.rows import Rows
from retune.showing.style import COLOURED, SIGNED
from retune.terminal.closed_pipe import while_someone_reads
from retune.terminal.colours import has_colours
from retune.tokens.tokenizer import ModelTokenizer

# Rows that are shown as text if none is named.
FIRST_ROWS = 3


def print_texts(tokens: Path, split: Split, row: int | None, base: Path) -> None:
    """Print rows as text.

    Args:
        tokens: Folder of tokens.
        split: The split.
        row: Number of the row; None: the first few.
        base: Folder of the base model, whose tokenizer made the tokens.

    Raises:
        RetuneError: If there is no such row, or not the tokenizer that made it.
    """
    rows = Rows(tokens, split)
    numbers = chosen(rows, row, FIRST_ROWS)
    tokenizer = load_tokenizer(base, tokens, rows.index.tokenizer_sha256)
    length = rows.index.sequence_length
    style = COLOURED if has_colours(sys.stdout) else SIGNED
    with while_someone_reads():
        print(legend(style), end="")
        for number in numbers:
            shown = rows[number]
            head = title(shown, len(rows), length, style)
            print(f"\n{head}{body(shown, length, tokenizer, style)}", end="")


def print_json(tokens: Path, split: Split, row: int | None) -> None:
    """Print a line of JSON for each row, as it was before packing.

    Args:
        tokens: Folder of tokens.
        split: The split.
        row: Number of the row; None: all rows.

    Raises:
        RetuneError: If there is no such row.
    """
    rows = Rows(tokens, split)
    with while_someone_reads():
        for number in chosen(rows, row, len(rows)):
            sequence = rows.sequences[number]
            value = {
                "row": number,
                "ids": sequence.ids.tolist(),
                "trained": sequence.trained.tolist(),
            }
            print(json.dumps(value))


def chosen(rows: Rows, row: int | None, most: int) -> Iterable[int]:
    """Return the numbers of the rows that are to be printed.

    Args:
        rows: The rows of the split.
        row: Number of the one row that is asked for; None: no certain one.
        most: Number of rows from the first one on that are printed then.

    Raises:
        RetuneError: If there is no such row.
    """
    if row is None:
        return range(min(most, len(rows)))
    if not 0 <= row < len(rows):
        raise RetuneError(
            f"--row: there is no row {row} in {rows.split}: they go from 0 to"
            f" {len(rows) - 1}"
        )
    return [row]


def load_tokenizer(base: Path, tokens: Path, expected: str) -> ModelTokenizer:
    """Return the tokenizer of a base model.

    Args:
        base: Folder of the base model.
        tokens: Folder of tokens, for the message.
        expected: SHA-256 of the tokenizer that made them, as hex digits.

    Raises:
        RetuneError: If there is none, or it is another one.
    """
    if not (base / FILE).is_file():
        raise RetuneError(
            f"--base: there is no file {base / FILE}: run fetch, or name the folder"
            " that it wrote"
        )
    tokenizer = ModelTokenizer.of(base, ModelFacts.read(base))
    if sha256(tokenizer.path) != expected:
        raise RetuneError(
            f"--base: {tokenizer.path} is not the tokenizer that made {tokens}: name"
            " the folder of that model, or run tokenize again"
        )
    return tokenizer
