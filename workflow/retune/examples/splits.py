"""Which split a document belongs to.

Groups are ordered by a hash of their names: the first ones are test, the next ones
validation, all others train. In large data the hash alone decides where the two borders
are, so a group stays in its split whatever data is added. With few groups the shares
would often be far from those that the settings ask for, by chance. There the groups are
counted off, and added data may move the groups at the borders.
"""

import hashlib
import math

import polars as pl

from retune.artifacts.data_metrics import Kind
from retune.errors import RetuneError
from retune.examples.document_kinds import NOUNS, kind_of
from retune.examples.duplicates import BY_PRECEDENCE
from retune.quantities import counted
from retune.settings import PrepareSettings

# With fewer groups than this they are always counted off.
FEW_GROUPS = 128
# More groups are counted off, too, where the hash misses the number of groups that the
# settings ask for by more than this share of it. With 100 groups in the split that is
# more than three standard deviations.
TOLERANCE = 1 / 3
# What to do where there are fewer documents than splits.
REMEDIES: dict[Kind, str] = {
    "text": ", because a document is never cut: give files of their own for validation"
    " and test (dataset.files), or make smaller documents (dataset.txt_documents: line,"
    " or dataset.document_start)",
    "example": ": give more examples, or files of their own for validation and test"
    " (dataset.files)",
}


def position_of(group: str, seed: int) -> float:
    """Return the position of a group from 0 to 1, which a hash of its name gives."""
    digest = hashlib.sha256(f"{seed}\0{group}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def splits_of(
    groups: pl.Series, seed: int, validation_share: float, test_share: float
) -> pl.Series:
    """Return the split of each document.

    The order of the documents does not matter.

    Args:
        groups: Group of each document (string, [documents]).
        seed: Seed of the hash.
        validation_share: Share of the groups for validation, from 0 to 1; above 0 it
            gives at least one group.
        test_share: Share of the groups for test, likewise. At least one group is left
            for train.

    Returns:
        Names of splits (string, [documents]).

    Raises:
        RetuneError: If there are fewer groups than splits.
    """
    check_enough_groups(groups, 1 + (test_share > 0) + (validation_share > 0))
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


def carve_missing_splits(
    documents: pl.DataFrame,
    given: list[str],
    settings: PrepareSettings,
    duplicates: int,
) -> pl.DataFrame:
    """Move whole groups from train to the splits that the raw data lacks.

    Args:
        documents: Documents of all splits: id, group, text or example, split.
        given: Names of the splits that the raw data has.
        settings: The section `prepare`.
        duplicates: Number of documents that were removed before, for messages.

    Returns:
        The same documents, sorted by split and id.

    Raises:
        RetuneError: If train has fewer groups than splits.
    """
    train = documents.filter(pl.col("split") == "train")
    shares = missing_shares(given, settings)
    splits = 1 + sum(share > 0 for share in shares)
    kind = kind_of(documents.columns)
    check_enough_groups(train["group"], splits, kind, duplicates)
    split = splits_of(train["group"], settings.seed, *shares)
    carved = train.with_columns(split.cast(BY_PRECEDENCE).alias("split"))
    others = documents.filter(pl.col("split") != "train")
    return pl.concat([others, carved]).sort("split", "id")


def missing_shares(given: list[str], settings: PrepareSettings) -> tuple[float, float]:
    """Return the share of the groups to carve for validation, and that for test.

    Args:
        given: Names of the splits that the raw data has.
        settings: The section `prepare`.
    """
    return (
        0 if "validation" in given else settings.validation_share,
        0 if "test" in given else settings.test_share,
    )


def check_enough_groups(
    groups: pl.Series, splits: int, kind: Kind = "text", duplicates: int = 0
) -> None:
    """Raise RetuneError if there are fewer groups than splits, naming a remedy.

    Args:
        groups: Group of each document (string, [documents]).
        splits: Number of splits.
        kind: What the documents are, for messages.
        duplicates: Number of documents that were removed before, likewise.
    """
    number, documents = groups.n_unique(), len(groups)
    if number == 0 or number >= splits:
        return
    count = counted(documents, NOUNS[kind])
    if duplicates:
        count += f" (and {counted(duplicates, 'duplicate')})"
    if number < documents:
        raise RetuneError(
            f"prepare: {count} of {counted(number, 'group')} cannot become {splits}"
            " splits, because a group stays in one: give more data, or another"
            " dataset.group_column"
        )
    raise RetuneError(f"prepare: {count} cannot become {splits} splits{REMEDIES[kind]}")


def counts_of(
    positions: pl.Series, validation_share: float, test_share: float
) -> tuple[int, int]:
    """Return the number of groups in test, and that in validation.

    Args:
        positions: Position of each group from 0 to 1, ascending (float64, [groups]).
        validation_share: Share of the groups for validation.
        test_share: Share of the groups for test.
    """
    number = len(positions)
    in_test = int((positions < test_share).sum())
    up_to_validation = int((positions < test_share + validation_share).sum())
    test = count_of(test_share, in_test, number)
    validation = count_of(validation_share, up_to_validation - in_test, number)
    # Shares near 1 of very few groups would leave none for train.
    while test + validation >= number > 0:
        if test > validation:
            test -= 1
        else:
            validation -= 1
    return test, validation


def count_of(share: float, by_hash: int, number: int) -> int:
    """Return the number of groups that a split gets.

    Args:
        share: Share of the groups for the split.
        by_hash: Number of groups whose position lies within that share.
        number: Number of all groups.
    """
    if share == 0:
        return 0
    asked = max(1, math.floor(share * number + 0.5))
    is_near = abs(by_hash - asked) <= TOLERANCE * asked
    return by_hash if is_near and number >= FEW_GROUPS else asked
