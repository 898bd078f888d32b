"""The data of a run as rows of plain text: its source, its splits, what was removed."""

from retune.artifacts.data_metrics import OverlappingExamples
from retune.quantities import percent
from retune.reporting.evaluation_rows import Row
from retune.reporting.run_results import RunResults
from retune.reporting.source_rows import parts_of
from retune.reporting.titles import title_of_chat_template, title_of_dataset
from retune.reporting.token_rows import lost_rows
from retune.settings import SPLITS, Split

UNKNOWN_LICENCE = {
    "hub": "see the dataset's page on the hub",
    "local": "not recorded",
    "builtin": "not recorded",
    "several": "that of each source",
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
        "format of the rows": origin.row_format,
        "columns": columns_text(origin.columns or {}),
    }
    rows = [(name, value) for name, value in values.items() if value]
    return rows + answer_rows(run)


def columns_text(columns: dict[str, str]) -> str:
    """Return which column of the files holds each value of the format."""
    return ", ".join(
        name if name == column else f"{column} (as {name})"
        for name, column in columns.items()
    )


def answer_rows(run: RunResults) -> list[Row]:
    """Return name and value of what is trained of examples; nothing for texts."""
    if not run.terms.has_answers:
        return []
    share = percent(run.tokens.splits["train"].trained_share)
    if run.terms.document == "example":
        return [("trained", f"the completions: {share} of the tokens")]
    trained = {part.settings.trained_turns for part in parts_of(run)}
    turns = "all turns of the assistant"
    if trained == {"last"}:
        turns = "the assistant's last turn"
    elif len(trained) > 1:
        turns += ", of some sources the last one alone"
    return [
        ("chat template", title_of_chat_template(run.settings.model)),
        ("trained", f"{turns}: {share} of the tokens"),
    ]


def removal_rows(run: RunResults) -> list[Row]:
    """Return name and value of what was removed from the text, or changed in it."""
    data = run.data
    checks = ", ".join(
        f"{count:,} {check}" for check, count in data.rejected.by_check.items()
    )
    held_out = sum(data.in_other_splits["train"].values())
    return [
        (f"raw {run.terms.documents}", f"{data.raw_documents:,}"),
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
        *near_duplicate_rows(data.near_duplicates_removed),
        (
            "removed as overlap with train",
            f"{by_split(data.overlap.removed, 'from')} ({data.overlap.words} words in"
            " a row)"
            if data.overlap.words
            else "not looked for",
        ),
        *overlap_rows(data.overlap.examples),
        *lost_rows(run),
    ]


def near_duplicate_rows(removed: int) -> list[Row]:
    """Return name and number of near duplicates, if any were removed."""
    return [("removed as near duplicates", f"{removed:,}")] if removed else []


def overlap_rows(overlap: OverlappingExamples | None) -> list[Row]:
    """Return name and value of what in examples overlaps with train."""
    if overlap is None:
        return []
    return [
        ("of these, for their answer", by_split(overlap.by_answer, "from")),
        ("of these, for their whole question", by_split(overlap.by_question, "from")),
        (
            "kept, though the question is similar to one of train",
            by_split(overlap.similar_questions, "in"),
        ),
    ]


def by_split(counts: dict[Split, int], word: str) -> str:
    """Return numbers of splits: `3 from validation, 1 from test`."""
    return ", ".join(f"{count:,} {word} {split}" for split, count in counts.items())


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
