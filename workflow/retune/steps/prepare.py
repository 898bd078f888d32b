"""Step `prepare`: check, deduplicate and split the documents.

They are texts, or examples, which have an answer. A text, and each string of an
example, is changed in one way only: it is brought to Unicode form NFC. Documents come
out sorted by id, so that the order of the raw rows does not matter.
"""

import logging
from pathlib import Path

import polars as pl

from retune.artifacts.data_metrics import DataMetrics, RejectedDocuments
from retune.artifacts.publishing import published_folder, write_manifest
from retune.artifacts.verifying import verify_folder
from retune.examples.document_checks import (
    check_clean,
    check_share,
    count_by_check,
    reject_bad,
    rejected_columns,
)
from retune.examples.document_kinds import NOUNS, SOURCE, kind_of, stored_columns
from retune.examples.document_reader import read_documents
from retune.examples.duplicates import count_in_other_splits, drop_duplicates
from retune.examples.near_duplicates import drop_near_duplicates
from retune.examples.overlap import drop_overlap
from retune.examples.same_questions import group_same_questions
from retune.examples.sizes import example_numbers, sizes
from retune.examples.source_splits import carve_each_source
from retune.examples.split_checks import stop_at_empty_split, stop_at_lost_split
from retune.examples.splits import carve_missing_splits
from retune.quantities import counted
from retune.settings import HELD_OUT, SPLITS, PrepareSettings

log = logging.getLogger(__name__)


def run(settings: PrepareSettings, raw: Path, clean: Path, metrics: Path) -> str:
    """Write the clean splits and their figures.

    Args:
        settings: The section `prepare`.
        raw: Folder that download made: train.parquet, perhaps validation.parquet and
            test.parquet, all with the columns id, group, text or all with id, group,
            example, and with the column source if there are several; a split that is
            missing is carved out of train (data/raw).
        clean: Folder to publish: a parquet file per split with the same columns,
            rejected.parquet, manifest.json (data/clean).
        metrics: JSON file to write: documents of each split, their size in UTF-8 bytes
            and words, number of documents removed (metrics/data.json).

    Returns:
        One line for people: the number of documents, and what became of them.

    Raises:
        RetuneError: If the raw files are wrong, too many documents are rejected or a
            split comes out empty.
    """
    verify_folder(raw, "download")
    documents = read_documents(raw)
    kind = kind_of(documents.columns)
    given = documents["split"].unique().to_list()
    good, rejected = reject_bad(documents, settings)
    file = clean.with_name("rejected.parquet")
    check_share(rejected, len(documents), settings, file)
    unique = drop_duplicates(good)
    in_others = count_in_other_splits(good, unique)
    duplicates = len(good) - len(unique)
    log.info("removed as duplicates: %d", duplicates)
    for (name, other), count in in_others.items():
        log.warning(
            "%s of %s %s %ss are in %s, too, and stay only there",
            *(f"{count:,}", f"{(good['split'] == name).sum():,}", name),
            *(NOUNS[kind], other),
        )
    stop_at_lost_split(good, unique, in_others)
    distinct = drop_near_duplicates(unique, settings.near_duplicates)
    near_duplicates = len(unique) - len(distinct)
    log.info("removed as near duplicates: %d", near_duplicates)
    grouped = group_same_questions(distinct)
    if SOURCE in documents.columns:
        split = carve_each_source(grouped, documents, settings, duplicates)
    else:
        split = carve_missing_splits(grouped, given, settings, duplicates)
    kept, overlap = drop_overlap(split, settings.overlap_words)
    stop_at_empty_split(split, kept, given, settings)
    check_clean(kept, settings.min_characters)
    columns = stored_columns(kind, SOURCE in kept.columns)
    with published_folder(clean) as folder:
        for name in SPLITS:
            rows = kept.filter(pl.col("split") == name)
            write_parquet(rows, columns, folder / name)
        write_parquet(rejected, rejected_columns(kind), folder / "rejected")
        write_manifest(folder, source="prepare", settings=settings.model_dump())
    figures = DataMetrics(
        kind=kind,
        **sizes(kept),
        rejected=RejectedDocuments(
            count=len(rejected),
            share=len(rejected) / len(documents),
            by_check=count_by_check(rejected),
        ),
        duplicates_removed=duplicates,
        near_duplicates_removed=near_duplicates,
        in_other_splits={
            "train": {other: in_others.get(("train", other), 0) for other in HELD_OUT},
            "validation": {"test": in_others.get(("validation", "test"), 0)},
        },
        overlap=overlap,
        examples=example_numbers(kept),
    )
    figures.write(metrics)
    return (
        f"{counted(len(documents), NOUNS[kind])}: "
        + ", ".join(f"{figures.documents[name]:,} {name}" for name in SPLITS)
        + f"; {len(rejected):,} rejected, "
        + counted(duplicates, "duplicate")
        + (f" and {near_duplicates:,} near ones" if near_duplicates else "")
        + lost_train_remark(in_others)
        + f", {figures.overlapping_documents:,} overlapping with train"
        + blank_remark(figures)
    )


def lost_train_remark(in_others: dict[tuple[str, str], int]) -> str:
    """Return a remark on documents of train that are held out, too; empty if none."""
    lost = sum(count for (name, _), count in in_others.items() if name == "train")
    return f" ({lost:,} of train are in validation or test)" if lost else ""


def blank_remark(figures: DataMetrics) -> str:
    """Return a remark on completions that are joined to their prompt; empty if none."""
    splits = (figures.examples or {}).values()
    count = sum(numbers.without_blank for numbers in splits)
    if not count:
        return ""
    verb = "follows its" if count == 1 else "follow their"
    return f"; {counted(count, 'completion')} {verb} prompt without a blank"


def write_parquet(rows: pl.DataFrame, columns: tuple[str, ...], path: Path) -> None:
    """Write `columns` as `path`.parquet; equal rows give equal bytes."""
    strings = rows.select(pl.col(columns).cast(pl.String)).rechunk()
    strings.write_parquet(path.with_suffix(".parquet"))
