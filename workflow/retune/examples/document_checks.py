"""What every document must be, as pandera schemas, and which documents are not.

Texts and examples have checks of their own. Of examples the columns of `ExampleFacts`
are checked; these are null where they make no sense, and nothing is wrong there.

Four properties of pandera matter here. An empty frame is valid, so callers count the
documents. Of a lazy frame only the types of the columns are checked, so frames are
collected before. Custom checks pass over nulls, so no column that a document needs is
nullable. The text of pandera's error holds the data, so it is never logged.
"""

import logging
from pathlib import Path

import pandera.polars as pa
import polars as pl
from pandera.errors import SchemaErrors
from pandera.polars import PolarsData

from retune.artifacts.data_metrics import Kind
from retune.errors import RetuneError
from retune.examples.document_kinds import TEXTS, kind_of, noun_of
from retune.settings import SPLITS, PrepareSettings

log = logging.getLogger(__name__)

# Names that metrics and logs use for pandera's own checks.
CHECK_NAMES = {
    "id.not_nullable": "id_missing",
    "id.field_uniqueness": "id_repeated",
    "group.not_nullable": "group_missing",
    "text.not_nullable": "text_missing",
    "example.not_nullable": "example_missing",
}
# The check of each column that says whether an example is as it should be.
EXAMPLE_CHECKS = {
    "has_messages": "no_messages",
    "has_trained_turn": "nothing_trained",
    "has_answers": "answer_missing",
    "has_question": "question_missing",
    "has_no_nul": "text_with_nul",
}
# Examples that a message gives of each failed check, and how long they are.
EXAMPLES = 2
EXAMPLE_CHARACTERS = 40


def document_columns(kind: Kind, min_characters: int) -> dict[str, pa.Column]:
    """Return what each column of a valid document must be."""
    own = text_columns(min_characters) if kind == "text" else example_columns()
    return {"id": pa.Column(str, unique=True), "group": pa.Column(str), **own}


def example_columns() -> dict[str, pa.Column]:
    """Return what the columns that only examples have must be."""
    facts = {
        name: pa.Column(bool, pa.Check.eq(True, error=check), nullable=True)
        for name, check in EXAMPLE_CHECKS.items()
    }
    return {"example": pa.Column(str), **facts}


def text_columns(min_characters: int) -> dict[str, pa.Column]:
    """Return what the column that only texts have must be."""

    def is_long_enough(data: PolarsData) -> pl.LazyFrame:
        length = pl.col(data.key).str.strip_chars().str.len_chars()
        return data.lazyframe.select(length >= min_characters)

    def has_no_nul(data: PolarsData) -> pl.LazyFrame:
        has_nul = pl.col(data.key).str.contains("\0", literal=True)
        return data.lazyframe.select(~has_nul)

    def has_letters(data: PolarsData) -> pl.LazyFrame:
        return data.lazyframe.select(pl.col(data.key).str.contains(r"\p{L}"))

    checks = [
        pa.Check(is_long_enough, name="text_too_short"),
        pa.Check(has_no_nul, name="text_with_nul"),
        pa.Check(has_letters, name="text_without_letters"),
    ]
    return {"text": pa.Column(str, checks)}


def document_schema(kind: Kind, min_characters: int) -> pa.DataFrameSchema:
    """Return the schema of valid documents; extra columns are allowed."""
    return pa.DataFrameSchema(document_columns(kind, min_characters))


def clean_document_schema(kind: Kind, min_characters: int) -> pa.DataFrameSchema:
    """Return the schema of all splits in one frame: no id, no document occurs twice."""
    columns = document_columns(kind, min_characters)
    columns[kind].unique = True
    columns["split"] = pa.Column(str, pa.Check.isin(SPLITS))
    return pa.DataFrameSchema(columns)


def find_failures(documents: pl.DataFrame, schema: pa.DataFrameSchema) -> pl.DataFrame:
    """Return the row number (index) and the name (check) of every failed check."""
    try:
        schema.validate(documents, lazy=True)
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
    """Return the valid documents, and the others with the checks that they failed.

    Documents with the same id are all rejected, as it is not known which one is meant.
    """
    documents = documents.with_row_index("index")
    noun = noun_of(documents.columns)
    schema = document_schema(kind_of(documents.columns), settings.min_characters)
    failures = (
        find_failures(documents, schema)
        .join(documents.select("index", "id"), on="index")
        # Pandera reports missing ids as repeated ones, too.
        .filter(pl.col("id").is_not_null() | (pl.col("check") != "id_repeated"))
        .group_by("index")
        .agg(pl.col("check").unique().sort().str.join(", "))
    )
    bad = documents.join(failures, on="index", maintain_order="left").drop("index")
    good = documents.join(failures, on="index", how="anti", maintain_order="left")
    if len(bad):
        count = f"{len(bad):,} of {len(documents):,} {noun}s"
        share = len(bad) / len(documents)
        log.warning("%s (%.1f%%) rejected:\n%s", count, 100 * share, failure_lines(bad))
    else:
        log.info("all %s %ss passed the checks", f"{len(documents):,}", noun)
    return good.drop("index"), bad


def check_share(
    bad: pl.DataFrame, num_documents: int, settings: PrepareSettings, file: Path
) -> None:
    """Raise RetuneError if too large a share of the documents was rejected.

    Args:
        bad: Rejected documents: id, split, check, and text or example.
        num_documents: Number of all documents.
        settings: The section `prepare`.
        file: Parquet file that holds the rejected documents after the error.
    """
    problem = share_problem(bad, num_documents, settings)
    if problem is None:
        file.unlink(missing_ok=True)
        return
    kind = kind_of(bad.columns)
    bad.select(*rejected_columns(kind)).write_parquet(file)
    choices = {
        "text": "another dataset.text_column or prepare.min_characters",
        "example": "other dataset.columns or dataset.trained_turns",
    }
    raise RetuneError(
        f"{problem}\nAll of them: {file}. Mend the data, choose"
        f" {choices[kind]}, or raise prepare.max_rejected_share"
    )


def share_problem(
    bad: pl.DataFrame, num_documents: int, settings: PrepareSettings
) -> str | None:
    """Return that too large a share of the documents was rejected; None: it was not.

    Args:
        bad: Rejected documents: id, split, check, and text or example.
        num_documents: Number of all documents.
        settings: The section `prepare`.
    """
    share = len(bad) / num_documents
    if share <= settings.max_rejected_share:
        return None
    noun = noun_of(bad.columns)
    return (
        f"prepare.max_rejected_share: {settings.max_rejected_share}, but {len(bad):,}"
        f" of {num_documents:,} {noun}s ({share:.1%}) failed the checks:\n"
        f"{failure_lines(bad)}"
    )


def rejected_columns(kind: Kind) -> tuple[str, ...]:
    """Return the columns of data/clean/rejected.parquet."""
    return "id", "split", "check", kind


def check_clean(documents: pl.DataFrame, min_characters: int) -> None:
    """Assert that the documents of all splits together pass every check."""
    documents = documents.with_columns(pl.col("split").cast(pl.String))
    schema = clean_document_schema(kind_of(documents.columns), min_characters)
    failed = find_failures(documents, schema)["check"].unique().sort().to_list()
    assert not failed, f"the clean documents failed: {', '.join(failed)}"


def count_by_check(rejected: pl.DataFrame) -> dict[str, int]:
    """Return the number of documents that failed each check; one may fail several."""
    counts = rejected["check"].str.split(", ").explode().value_counts()
    return dict(counts.sort("check").iter_rows())


def failure_lines(rejected: pl.DataFrame) -> str:
    """Return a line per check with the number of failures and shortened examples."""
    lines = []
    texts = TEXTS[kind_of(rejected.columns)]
    for check, count in count_by_check(rejected).items():
        failed = rejected.filter(pl.col("check").str.split(", ").list.contains(check))
        examples = [
            f"{split} {shorten(document_id)}: {' -> '.join(map(shorten, said))}"
            for document_id, split, *said in failed.select("id", "split", *texts)
            .head(EXAMPLES)
            .iter_rows()
        ]
        lines.append(f"  {check}: {count:,}, such as {'; '.join(examples)}")
    return "\n".join(lines)


def shorten(text: str | None) -> str:
    """Return the start of a text on one line, with control characters escaped."""
    if text is None or len(text) <= EXAMPLE_CHARACTERS:
        return repr(text)
    return f"{text[:EXAMPLE_CHARACTERS]!r}..."
