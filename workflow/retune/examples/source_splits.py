"""Which split a document of several sources belongs to: each source is split by itself.

So a small source is in every split, too, as far as it can be.
"""

import polars as pl

from retune.examples.document_kinds import SOURCE
from retune.examples.splits import carve_missing_splits, missing_shares
from retune.settings import PrepareSettings


def carve_each_source(
    documents: pl.DataFrame,
    raw: pl.DataFrame,
    settings: PrepareSettings,
    duplicates: int,
) -> pl.DataFrame:
    """Move whole groups from train to the splits that a source lacks.

    A source with fewer groups than splits stays in train. If that leaves a split
    empty, it is carved out of all sources together. A group that documents of several
    sources are in is split with the first of these.

    Args:
        documents: Documents of all splits: id, group, text or example, source, split.
        raw: All documents that there were: source, split.
        settings: The section `prepare`.
        duplicates: Number of documents that were removed before, for messages.

    Returns:
        The same documents, sorted by split and id.

    Raises:
        RetuneError: If all train together has fewer groups than splits.
    """
    home = documents.select(pl.col(SOURCE).min().over("group")).to_series()
    parts = []
    for name in home.unique().sort():
        part = documents.filter(home == name)
        given = raw.filter(pl.col(SOURCE) == name)["split"].unique().to_list()
        if has_enough_groups(part, given, settings):
            part = carve_missing_splits(part, given, settings, duplicates)
        parts.append(part)
    carved = pl.concat(parts)
    given = carved["split"].unique().to_list()
    return carve_missing_splits(carved, given, settings, duplicates)


def has_enough_groups(
    documents: pl.DataFrame, given: list[str], settings: PrepareSettings
) -> bool:
    """Return whether train has a group for each split that is to be carved, and one.

    Args:
        documents: Documents of all splits: group, split.
        given: Names of the splits that the raw data has.
        settings: The section `prepare`.
    """
    train = documents.filter(pl.col("split") == "train")
    carved = sum(share > 0 for share in missing_shares(given, settings))
    return train["group"].n_unique() > carved
