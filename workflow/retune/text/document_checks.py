"""What every document must be, as pandera models, and who fails it.

Pandera's traps kept in mind: an empty frame is valid (the caller counts), a lazy
frame is checked for its schema alone (frames here are collected), custom checks
pass over nulls (columns are not nullable), and the text of its error holds the
data (never logged).
"""

import logging
from pathlib import Path

import pandera.polars as pa
import polars as pl
from pandera.errors import SchemaErrors
from pandera.polars import PolarsData

from retune.errors import RetuneError
from retune.settings import PrepareSettings

log = logging.getLogger(__name__)

# Pandera's own checks by the names that metrics and logs use.
CHECK_NAMES = {
    "id.not_nullable": "id_missing",
    "id.field_uniqueness": "id_repeated",
    "group.not_nullable": "group_missing",
    "text.not_nullable": "text_missing",
}
EXAMPLES = 2
EXAMPLE_CHARACTERS = 40


def document_model(min_characters: int) -> type[pa.DataFrameModel]:
    """Return the model of a valid document; extra columns are allowed."""

    class Document(pa.DataFrameModel):
        id: str = pa.Field(unique=True)
        group: str
        text: str

        @pa.check("text", name="text_too_short")
        def _is_long_enough(cls, data: PolarsData) -> pl.LazyFrame:
            length = pl.col(data.key).str.strip_chars().str.len_chars()
            return data.lazyframe.select(length >= min_characters)

        @pa.check("text", name="text_with_nul")
        def _has_no_nul(cls, data: PolarsData) -> pl.LazyFrame:
            has_nul = pl.col(data.key).str.contains("\0", literal=True)
            return data.lazyframe.select(~has_nul)

        @pa.check("text", name="text_without_letters")
        def _has_letters(cls, data: PolarsData) -> pl.LazyFrame:
            return data.lazyframe.select(pl.col(data.key).str.contains(r"\p{L}"))

    return Document


def clean_document_model(min_characters: int) -> type[pa.DataFrameModel]:
    """Return the model of all splits in one frame: no id and no text occurs twice."""

    class CleanDocument(document_model(min_characters)):
        text: str = pa.Field(unique=True)
        split: str = pa.Field(isin=["train", "validation", "test"])

        class Config:
            strict = True

    return CleanDocument


def find_failures(
    documents: pl.DataFrame, model: type[pa.DataFrameModel]
) -> pl.DataFrame:
    """Return the row (index) and name (check) of every failed check."""
    try:
        model.validate(documents, lazy=True)
    except SchemaErrors as error:
        failures = error.failure_cases
    else:
        return pl.DataFrame(schema={"index": pl.UInt32, "check": pl.String})
    name = pl.when(pl.col("check").is_in(["not_nullable", "field_uniqueness"])).then(
        pl.concat_str("column", "check", separator=".")
    )
    failures = failures.select(
        pl.col("index").cast(pl.UInt32),
        name.otherwise("check").replace(CHECK_NAMES).alias("check"),
    )
    broken = failures.filter(pl.col("index").is_null())["check"].to_list()
    assert not broken, f"the frame, not its rows, failed: {', '.join(broken)}"
    return failures


def reject_bad(
    documents: pl.DataFrame, settings: PrepareSettings
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the valid documents, and the others with the checks they failed.

    Of documents with one id, all are rejected: which one is meant is not known.
    """
    documents = documents.with_row_index("index")
    model = document_model(settings.min_characters)
    failures = (
        find_failures(documents, model)
        .join(documents.select("index", "id"), on="index")
        # Pandera takes missing ids for repeated ones.
        .filter(pl.col("id").is_not_null() | (pl.col("check") != "id_repeated"))
        .group_by("index")
        .agg(pl.col("check").unique().sort().str.join(", "))
    )
    bad = documents.join(failures, on="index", maintain_order="left").drop("index")
    good = documents.join(failures, on="index", how="anti", maintain_order="left")
    if len(bad):
        count = f"{len(bad):,} of {len(documents):,} documents"
        share = len(bad) / len(documents)
        log.warning("%s (%.1f%%) rejected:\n%s", count, 100 * share, summarize(bad))
    else:
        log.info("all %s documents passed the checks", f"{len(documents):,}")
    return good.drop("index"), bad


def check_share(
    bad: pl.DataFrame, num_documents: int, settings: PrepareSettings, file: Path
) -> None:
    """Raise RetuneError if too many were rejected; then `file` holds all of them."""
    share = len(bad) / num_documents
    if share <= settings.max_rejected_share:
        file.unlink(missing_ok=True)
        return
    bad.select("id", "split", "check", "text").write_parquet(file)
    raise RetuneError(
        f"prepare.max_rejected_share: {settings.max_rejected_share}, but {len(bad):,}"
        f" of {num_documents:,} documents ({share:.1%}) failed the checks:\n"
        f"{summarize(bad)}\nAll of them: {file}. Mend the data, choose another"
        " dataset.text_column or prepare.min_characters, or raise"
        " prepare.max_rejected_share"
    )


def check_clean(documents: pl.DataFrame, min_characters: int) -> None:
    """Assert that the documents of all splits together are what `prepare` promises."""
    documents = documents.with_columns(pl.col("split").cast(pl.String))
    model = clean_document_model(min_characters)
    failed = find_failures(documents, model)["check"].unique().sort().to_list()
    assert not failed, f"the clean documents failed: {', '.join(failed)}"


def count_by_check(rejected: pl.DataFrame) -> dict[str, int]:
    """Return how many documents failed each check; one may fail several."""
    counts = rejected["check"].str.split(", ").explode().value_counts()
    return dict(counts.sort("check").iter_rows())


def summarize(rejected: pl.DataFrame) -> str:
    """Return a line per check: how many failed it and shortened examples."""
    lines = []
    for check, count in count_by_check(rejected).items():
        failed = rejected.filter(pl.col("check").str.split(", ").list.contains(check))
        examples = [
            f"{split} {shorten(document_id)}: {shorten(text)}"
            for document_id, split, text in failed.select("id", "split", "text")
            .head(EXAMPLES)
            .iter_rows()
        ]
        lines.append(f"  {check}: {count:,}, such as {'; '.join(examples)}")
    return "\n".join(lines)


def shorten(text: str | None) -> str:
    """Return the start of a text on one line, control characters escaped."""
    if text is None or len(text) <= EXAMPLE_CHARACTERS:
        return repr(text)
    return f"{text[:EXAMPLE_CHARACTERS]!r}..."
