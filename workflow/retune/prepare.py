"""Step `prepare`: check, deduplicate and split the text.

A text is changed in one way only: it is brought to Unicode form NFC. Documents
come out sorted by id, so that the order of the raw rows never matters.
"""

import logging
from pathlib import Path

import polars as pl

from retune.errors import RetuneError
from retune.publishing import published_folder, write_manifest, write_sealed
from retune.quantities import counted
from retune.settings import HELD_OUT, SPLITS, PrepareSettings
from retune.text.document_checks import (
    check_clean,
    check_share,
    count_by_check,
    reject_bad,
)
from retune.text.overlap import shares_words_with
from retune.text.splits import count_in_other_splits, drop_duplicates, splits_of
from retune.verifying import verify_folder

log = logging.getLogger(__name__)

COLUMNS = ("id", "group", "text")
# A split that others hold by so much is the same data, given twice.
NEARLY_ALL = 0.9
# Of equal documents the one in the first of these stays.
BY_PRECEDENCE = pl.Enum(["test", "validation", "train"])


def run(settings: PrepareSettings, raw: Path, clean: Path, metrics: Path) -> str:
    """Write the clean splits and their figures.

    Args:
        settings: The `prepare` section.
        raw: Folder that download made: train.parquet, perhaps validation and test; any
            that is missing is carved out of train (data/raw).
        clean: Folder to publish: one parquet per split, rejected.parquet, manifest
            (data/clean).
        metrics: JSON file to write: counts, sizes in UTF-8 bytes and words, what was
            removed (metrics/data.json).

    Returns:
        One line: all documents, and what became of how many of them.

    Raises:
        RetuneError: If the raw files are wrong, too many documents are rejected or a
            split comes out empty.
    """
    verify_folder(raw, "download")
    documents = read_raw(raw)
    given = documents["split"].unique().to_list()
    good, rejected = reject_bad(documents, settings)
    file = clean.with_name("rejected.parquet")
    check_share(rejected, len(documents), settings, file)
    unique = drop_duplicates(good)
    in_others = count_in_other_splits(good, unique)
    log.info("removed as duplicates: %d", len(good) - len(unique))
    for (name, other), count in in_others.items():
        log.warning(
            "%s of %s %s documents are in %s, too, and stay only there",
            *(f"{count:,}", f"{(good['split'] == name).sum():,}", name, other),
        )
    stop_at_lost_split(good, unique, in_others)
    split = carve_missing_splits(unique, given, settings)
    kept, overlapping = drop_overlap(split, settings.overlap_words)
    stop_at_empty_split(split, kept, given, settings)
    check_clean(kept, settings.min_characters)
    with published_folder(clean) as folder:
        for name in SPLITS:
            write_parquet(kept.filter(pl.col("split") == name), COLUMNS, folder / name)
        write_parquet(rejected, ("id", "split", "check", "text"), folder / "rejected")
        write_manifest(folder, source="prepare", settings=settings.model_dump())
    figures = {
        **sizes(kept),
        "rejected": {
            "count": len(rejected),
            "share": len(rejected) / len(documents),
            "by_check": count_by_check(rejected),
        },
        "duplicates_removed": len(good) - len(unique),
        "in_other_splits": {
            name: {other: in_others.get((name, other), 0) for other in others}
            for name, others in {"train": HELD_OUT, "validation": ("test",)}.items()
        },
        "overlap": {"words": settings.overlap_words, "removed": overlapping},
    }
    write_sealed(metrics, figures)
    counts = figures["documents"]
    return (
        f"{counted(len(documents), 'document')}: "
        + ", ".join(f"{counts[name]:,} {name}" for name in SPLITS)
        + f"; {len(rejected):,} rejected, "
        + counted(figures["duplicates_removed"], "duplicate")
        + describe_lost_train(in_others)
        + f", {sum(overlapping.values()):,} overlapping with train"
    )


def describe_lost_train(in_others: dict[tuple[str, str], int]) -> str:
    """Return how many documents of train are held out, too, if any are."""
    lost = sum(count for (name, _), count in in_others.items() if name == "train")
    return f" ({lost:,} of train are in validation or test)" if lost else ""


def read_raw(folder: Path) -> pl.DataFrame:
    """Return id, group, text (NFC) and split of all raw documents, in fixed order."""
    if not (folder / "train.parquet").is_file():
        raise RetuneError(f"{folder}/train.parquet is missing: run the step download")
    paths = [folder / f"{name}.parquet" for name in SPLITS]
    frames = [read_split(path) for path in paths if path.is_file()]
    documents = pl.concat(frames).with_columns(pl.col("text").str.normalize("NFC"))
    return documents.sort("split", "id", "group", "text")


def read_split(path: Path) -> pl.DataFrame:
    """Return the rows of one raw file and the split it is named after."""
    try:
        schema = pl.read_parquet_schema(path)
        wrong = [name for name in COLUMNS if schema.get(name) != pl.String]
        if wrong:
            found = ", ".join(f"{name} ({dtype})" for name, dtype in schema.items())
            raise RetuneError(
                f"{path}: needs the string columns {', '.join(COLUMNS)}; found {found}"
            )
        rows = pl.read_parquet(path, columns=list(COLUMNS))
    except (pl.exceptions.ComputeError, OSError) as error:
        raise RetuneError(
            f"{path}: not readable as Parquet ({type(error).__name__}): delete"
            f" {path.parent} and run the step download again"
        ) from error
    if rows.is_empty():
        raise RetuneError(f"{path}: holds no documents; check dataset")
    split = pl.lit(path.stem, dtype=BY_PRECEDENCE).alias("split")
    return rows.select(*COLUMNS, split)


def carve_missing_splits(
    documents: pl.DataFrame, given: list[str], settings: PrepareSettings
) -> pl.DataFrame:
    """Move whole groups of train to the splits the raw data lacks."""
    train = documents.filter(pl.col("split") == "train")
    splits = splits_of(
        train["group"],
        settings.seed,
        0 if "validation" in given else settings.validation_share,
        0 if "test" in given else settings.test_share,
    )
    carved = train.with_columns(splits.cast(BY_PRECEDENCE).alias("split"))
    others = documents.filter(pl.col("split") != "train")
    return pl.concat([others, carved]).sort("split", "id")


def drop_overlap(
    documents: pl.DataFrame, words: int
) -> tuple[pl.DataFrame, dict[str, int]]:
    """Drop held-out documents that share `words` words in a row with train.

    Returns:
        The documents kept, and how many each held-out split lost.
    """
    if words == 0:
        return documents, dict.fromkeys(HELD_OUT, 0)
    is_train = documents["split"] == "train"
    held_out = documents.filter(~is_train)
    shares = shares_words_with(
        held_out["text"], documents.filter(is_train)["text"], words
    )
    lost = held_out.filter(shares)["split"].cast(pl.String)
    removed = {name: (lost == name).sum() for name in HELD_OUT}
    log.info(
        "removed for sharing %d words in a row with train: %s",
        words,
        ", ".join(f"{count:,} of {name}" for name, count in removed.items()),
    )
    kept = pl.concat([held_out.filter(~shares), documents.filter(is_train)])
    return kept, removed


def stop_at_lost_split(
    good: pl.DataFrame, unique: pl.DataFrame, in_others: dict[tuple[str, str], int]
) -> None:
    """Raise RetuneError if a split holds hardly anything that others do not hold.

    Args:
        good: The documents that passed the checks.
        unique: Those without duplicates.
        in_others: See `count_in_other_splits`.
    """
    problems = []
    for name in ("train", "validation"):
        count = (good["split"] == name).sum()
        others = sorted(other for of, other in in_others if of == name)
        lost = sum(in_others[name, other] for other in others)
        if others and (name not in unique["split"] or lost >= NEARLY_ALL * count):
            is_all = name not in unique["split"]
            files = " and ".join(f"dataset.files.{other}" for other in others)
            problems.append(
                f"{name}.parquet: {'all' if is_all else f'{lost:,} of'} its {count:,}"
                f" documents are in {' and '.join(others)}, too: dataset.files.{name}"
                f" holds {'nothing' if is_all else 'hardly anything'} that is not in"
                f" {files}"
            )
    if problems:
        raise RetuneError("\n".join(problems))


def stop_at_empty_split(
    split: pl.DataFrame,
    kept: pl.DataFrame,
    given: list[str],
    settings: PrepareSettings,
) -> None:
    """Raise RetuneError that says why, if a split has no document.

    Args:
        split: The documents after splitting.
        kept: Those left after the check for overlap.
        given: Splits the raw data has.
        settings: The `prepare` section.
    """
    problems = []
    for name in SPLITS:
        if name in kept["split"]:
            continue
        count = (split["split"] == name).sum()
        if count:
            problems.append(
                f"prepare.overlap_words: {settings.overlap_words} removes all {count:,}"
                f" {name} documents, each shares such a run with train: raise it, or 0"
                " keeps them"
            )
        elif name in given:
            problems.append(
                f"{name}.parquet: all its documents were rejected: check"
                f" dataset.files.{name}"
            )
        else:
            problems.append(
                f"prepare.{name}_share: {getattr(settings, f'{name}_share')} leaves no"
                f" {name} documents: raise it, or give the data a {name} split"
            )
    if problems:
        raise RetuneError("\n".join(problems))


def sizes(documents: pl.DataFrame) -> dict[str, dict[str, int]]:
    """Return documents, bytes (UTF-8), words and groups of each split."""
    words = pl.col("text").str.count_matches(r"\S+")
    table: dict[str, dict[str, int]] = {}
    for name in SPLITS:
        row = documents.filter(pl.col("split") == name).select(
            documents=pl.len(),
            bytes=pl.col("text").str.len_bytes().cast(pl.Int64).sum(),
            words=words.cast(pl.Int64).sum(),
            groups=pl.col("group").n_unique(),
        )
        for figure, value in row.row(0, named=True).items():
            table.setdefault(figure, {})[name] = value
    return table


def write_parquet(rows: pl.DataFrame, columns: tuple[str, ...], path: Path) -> None:
    """Write `columns` as `path`.parquet; equal rows give equal bytes."""
    strings = rows.select(pl.col(columns).cast(pl.String)).rechunk()
    strings.write_parquet(path.with_suffix(".parquet"))
