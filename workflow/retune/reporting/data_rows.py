"""The data of a run as rows of plain text: its source, its splits, what was removed."""

from retune.quantities import percent
from retune.reporting.evaluation_rows import Row
from retune.reporting.run_results import RunResults
from retune.reporting.titles import title_of_dataset
from retune.settings import SPLITS

UNKNOWN_LICENCE = {
    "hub": "see the dataset's page on the hub",
    "local": "not recorded",
    "builtin": "not recorded",
}


def origin_rows(run: RunResults) -> list[Row]:
    """Return name and value of where the data came from."""
    origin, dataset = run.raw, run.settings.dataset
    values = {
        "source": title_of_dataset(dataset),
        "revision": origin.revision,
        "subset": origin.subset,
        "python version": origin.python_version,
        "attribution": origin.attribution,
        "licence": origin.licence or UNKNOWN_LICENCE[dataset.source],
    }
    return [(name, value) for name, value in values.items() if value]


def removal_rows(run: RunResults) -> list[Row]:
    """Return name and value of what was removed from the text, or changed in it."""
    data = run.data
    checks = ", ".join(
        f"{count:,} {check}" for check, count in data.rejected.by_check.items()
    )
    lost = ", ".join(
        f"{count:,} from {split}" for split, count in data.overlap.removed.items()
    )
    held_out = sum(data.in_other_splits["train"].values())
    return [
        ("raw documents", f"{data.raw_documents:,}"),
        (
            "rejected by the checks",
            f"{data.rejected.count:,} ({percent(data.rejected.share)})"
            + (f": {checks}" if checks else ""),
        ),
        (
            "removed as duplicates",
            f"{data.duplicates_removed:,}"
            + (
                f": {held_out:,} of train are in validation or test" if held_out else ""
            ),
        ),
        (
            "removed as overlap with train",
            f"{lost} ({data.overlap.words} words in a row)"
            if data.overlap.words
            else "not looked for",
        ),
        *token_rows(run),
    ]


def token_rows(run: RunResults) -> list[Row]:
    """Return name and value of what the tokens do not hold as the text has it."""
    splits = run.tokens.splits.values()
    lost = sum(split.lost_characters for split in splits)
    spelled = sum(split.special_tokens_spelled_out for split in splits)
    meant = "text" if run.settings.model.split_special_tokens else "special tokens"
    return [
        ("lost, since the tokenizer lacks them", f"{lost:,} characters"),
        (
            "special tokens spelled out in the texts",
            f"{spelled:,}" + (f", encoded as {meant}" if spelled else ""),
        ),
    ]


def split_rows(run: RunResults) -> list[Row]:
    """Return split, documents, groups, words, bytes and tokens."""
    data = run.data
    return [
        (
            split,
            f"{data.documents[split]:,}",
            f"{data.groups[split]:,}",
            f"{data.words[split]:,}",
            f"{data.bytes[split]:,}",
            f"{run.tokens.splits[split].tokens:,}",
        )
        for split in SPLITS
    ]
