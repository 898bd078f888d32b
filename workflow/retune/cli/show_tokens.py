"""The subcommand `show-tokens`, which is no step: it writes no file."""

import argparse
from pathlib import Path

from retune.settings import SPLITS

NAME = "show-tokens"
SUMMARY = "Show the rows of data/tokens as the model sees them, and what is trained."
EXAMPLE = f"python -m retune {NAME} --split validation --row 7"


def add_options(command: argparse.ArgumentParser) -> None:
    """Add the options of the subcommand."""
    command.add_argument(
        "--split", choices=SPLITS, default="train", help="The split (train)."
    )
    command.add_argument(
        "--row",
        type=int,
        metavar="N",
        help="The number of one row, from 0. Without it the first three are shown, and"
        " with --json all.",
    )
    command.add_argument(
        "--json",
        action="store_true",
        help="Print a line of JSON for each row as it was before packing: its number,"
        " the ids of its tokens, and which of them are trained.",
    )
    command.add_argument(
        "--tokens",
        type=Path,
        default=Path("data/tokens"),
        metavar="PATH",
        help="Folder that tokenize made (data/tokens).",
    )
    command.add_argument(
        "--base",
        type=Path,
        default=Path("models/base"),
        metavar="PATH",
        help="Folder of the base model that fetch made (models/base). It has the"
        " tokenizer, which --json does not need.",
    )


def run(given: argparse.Namespace) -> None:
    """Print what the options ask for to stdout.

    Raises:
        RetuneError: If there is no such row, or not the tokenizer that made it.
    """
    # It loads the tokenizers' library, which no other subcommand's start waits for.
    from retune.showing.printing import print_json, print_texts

    if given.json:
        print_json(given.tokens, given.split, given.row)
    else:
        print_texts(given.tokens, given.split, given.row, given.base)
