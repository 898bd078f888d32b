"""Which split a document belongs to, and which one of equal documents stays.

Groups are ordered by a hash of their names: the first ones are test, the next ones
validation, all others train. In large data the hash alone says how many these are. Such
a group stays where it is, whatever data is added. By chance a few groups would often be
far from the shares asked for; there they are counted off, and added data may move those
at the two borders.
"""

import hashlib
import math

import polars as pl

from retune.errors import RetuneError
from retune.quantities import counted

# With fewer groups than this they are always counted off.
FEW_GROUPS = 128
# And otherwise where the hash misses the number asked for by more than this share of
# it. With 100 groups in the split that is more than three standard deviations.
TOLERANCE = 1 / 3


def position_of(group: str, seed: int) -> float:
    """Return a group's place from 0 to 1, from nothing but a hash of its name."""
    digest = hashlib.sha256(f"{seed}\0{group}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def splits_of(
    groups: pl.Series, seed: int, validation_share: float, test_share: float
) -> pl.Series:
    """Return the split of every group of a column (string, any length).

    The order of the column does not matter. A share above 0 gives at least one group,
    and one is left to train.

    Raises:
        RetuneError: If there are fewer groups than splits.
    """
    check_number(groups, 1 + (test_share > 0) + (validation_share > 0))
    unique = groups.unique()
    positions = pl.Series(
        [position_of(group, seed) for group in unique], dtype=pl.Float64
    )
    ordered = pl.DataFrame({"group": unique, "position": positions}).sort(
        "position", "group"
    )
    test, validation = counts_of(ordered["position"], validation_share, test_share)
    names = ["test"] * test + ["validation"] * validation
    names += ["train"] * (len(ordered) - len(names))
    return groups.replace_strict(ordered["group"], names, return_dtype=pl.String)


def check_number(groups: pl.Series, splits: int) -> None:
    """Raise RetuneError if there are fewer groups than splits, naming a remedy."""
    number, documents = groups.n_unique(), len(groups)
    if number == 0 or number >= splits:
        return
    if number < documents:
        raise RetuneError(
            f"prepare: {documents:,} documents of {counted(number, 'group')} cannot"
            f" become {splits} splits, because a group stays in one: give more data, or"
            " another dataset.group_column"
        )
    raise RetuneError(
        f"prepare: {counted(documents, 'document')} cannot become {splits} splits,"
        " because a document is never cut: give files of their own for validation and"
        " test (dataset.files), or make smaller documents (dataset.txt_documents: line,"
        " or dataset.document_start)"
    )


def counts_of(
    positions: pl.Series, validation_share: float, test_share: float
) -> tuple[int, int]:
    """Return how many groups are test, and how many validation.

    Args:
        positions: Of all groups.
        validation_share: Asked for.
        test_share: Asked for.
    """
    number = len(positions)
    in_test = int((positions < test_share).sum())
    up_to_validation = int((positions < test_share + validation_share).sum())
    test = count_of(test_share, in_test, number)
    validation = count_of(validation_share, up_to_validation - in_test, number)
    while test + validation >= number > 0:  # shares near 1 of very few groups
        if test > validation:
            test -= 1
        else:
            validation -= 1
    return test, validation


def count_of(share: float, by_hash: int, number: int) -> int:
    """Return how many groups a split gets.

    Args:
        share: Asked for.
        by_hash: How many groups have their place within that share.
        number: Of all groups.
    """
    if share == 0:
        return 0
    asked = max(1, math.floor(share * number + 0.5))
    is_near = abs(by_hash - asked) <= TOLERANCE * asked
    return by_hash if is_near and number >= FEW_GROUPS else asked


def same_text() -> pl.Expr:
    """Return the text with neither its Unicode form nor its white space."""
    return (
        pl.col("text")
        .str.normalize("NFC")
        .str.replace_all(r"\s+", " ")
        .str.strip_chars()
        .alias("same_text")
    )


def drop_duplicates(documents: pl.DataFrame) -> pl.DataFrame:
    """Keep the first row of each text, whatever its Unicode form and white space."""
    return (
        documents.with_columns(same_text())
        .unique("same_text", keep="first", maintain_order=True)
        .drop("same_text")
    )


def count_in_other_splits(
    documents: pl.DataFrame, unique: pl.DataFrame
) -> dict[tuple[str, str], int]:
    """Count the documents of one split that were dropped for one of another split.

    Args:
        documents: All of them: id, text, split.
        unique: Those that stayed.

    Returns:
        The number by the split that lost them and the split that has them.
    """
    dropped = documents.join(unique.select("id"), on="id", how="anti")
    held_out = unique.filter(pl.col("split") != "train")
    lost = dropped.select("split", same_text()).join(
        held_out.select(same_text(), has="split"), on="same_text"
    )
    counts = lost.filter(pl.col("split") != pl.col("has")).group_by("split", "has")
    return {
        (of, has): count
        for of, has, count in counts.len().sort("split", "has").iter_rows()
    }
