"""Tokens and blocks of a run as rows of plain text."""

from retune.artifacts.tokens_card import TokensCard
from retune.artifacts.tokens_index import Overlong
from retune.quantities import percent
from retune.reporting.evaluation_rows import Row
from retune.reporting.run_results import RunResults
from retune.settings import SPLITS

BLOCK_HEADER = (
    "split",
    "sequences",
    "trained tokens",
    "share trained",
    "blocks",
    "padding",
    "too long",
)
LENGTH_HEADER = ("tokens", "shortest", "median", "longest")
SCRIPT_HEADER = ("script", "share of letters")


def block_rows(run: RunResults) -> list[Row]:
    """Return the rows of `BLOCK_HEADER`: how the tokens of each split fill blocks."""
    return [
        (
            split,
            f"{numbers.sequences:,}",
            f"{numbers.trained_tokens:,}",
            percent(numbers.trained_share),
            f"{numbers.blocks:,}",
            percent(numbers.padding_share),
            overlong_text(numbers.overlong),
        )
        for split, numbers in ((split, run.tokens.splits[split]) for split in SPLITS)
    ]


def overlong_text(numbers: Overlong) -> str:
    """Return what became of the sequences that are longer than a block."""
    named = [f"{count:,} {what}" for what, count in numbers if count]
    return ", ".join(named) or "none"


def length_rows(card: TokensCard) -> list[Row]:
    """Return the rows of `LENGTH_HEADER`: how long the sequences of a split are."""
    return [
        (
            split,
            f"{lengths.shortest:,}",
            f"{lengths.median:,g}",
            f"{lengths.longest:,}",
        )
        for split, lengths in card.lengths.items()
    ]


def script_rows(card: TokensCard) -> list[Row]:
    """Return each script and the part of the letters that it has."""
    return [(script, percent(share)) for script, share in card.scripts.items()]


def lost_rows(run: RunResults) -> list[Row]:
    """Return name and value of what the tokens do not hold as the text has it."""
    splits = run.tokens.splits.values()
    lost = sum(split.lost_characters for split in splits)
    spelled = sum(split.special_tokens_spelled_out for split in splits)
    straddling = sum(split.straddling_tokens for split in splits)
    meant = "text" if run.settings.model.split_special_tokens else "special tokens"
    rows: list[Row] = [
        ("lost, since the tokenizer lacks them", f"{lost:,} characters"),
        (
            "special tokens spelled out in the texts",
            f"{spelled:,}" + (f", encoded as {meant}" if spelled else ""),
        ),
    ]
    if straddling:
        rows.append(
            ("not trained, since they begin before an answer", f"{straddling:,} tokens")
        )
    if other := sum(split.other_beginnings for split in splits):
        rows.append(
            (
                "answers that the template begins otherwise than their prompt",
                f"in {other:,} sequences; what both begin with is not trained",
            )
        )
    return rows
