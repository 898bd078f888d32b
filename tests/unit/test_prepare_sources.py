"""The step `prepare` on several sources: judged together, each split by itself."""

from collections import Counter

import polars as pl
import pytest

from prepare_case import Case, asked, row, text
from retune.errors import RetuneError


@pytest.fixture
def case(tmp_path):
    return Case(tmp_path)


def documents(source, numbers, split="train"):
    """Documents of a source, as `download` writes them."""
    rows = []
    for number in numbers:
        name = f"{source}/{split}-{number:09d}"
        rows.append({"id": name, "group": name, "text": text(number), "source": source})
    return rows


def write(case, **splits):
    """Write data/raw with the column source."""
    for name, rows in splits.items():
        pl.DataFrame(rows).write_parquet(case.raw / f"{name}.parquet")


def counts(case):
    """Return the number of documents of each source, by split."""
    return {
        split: Counter(case.read(split)["source"])
        for split in ("train", "validation", "test")
    }


def test_a_small_source_is_in_every_split(case):
    rows = documents("large", range(1000)) + documents("small", range(1000, 1030))
    write(case, train=rows)
    case.run(validation_share=0.05, test_share=0.05)
    found = counts(case)
    assert found["validation"]["small"] == found["test"]["small"] == 2
    assert 35 <= found["test"]["large"] <= 65
    train = case.read("train")
    assert train.columns == ["id", "group", "text", "source"]
    assert train["source"].to_list() == sorted(train["source"])


def test_a_source_splits_as_it_would_alone(case, tmp_path):
    rows = documents("a", range(60))
    write(case, train=rows + documents("b", range(100, 140)))
    case.run()
    other = Case(tmp_path / "alone")
    write(other, train=rows)
    other.run()
    for split in ("train", "validation", "test"):
        ids = case.read(split).filter(pl.col("source") == "a")["id"].to_list()
        assert ids == other.ids(split)


def test_a_source_with_too_few_groups_is_all_in_train(case):
    write(case, train=documents("a", range(40)) + documents("b", range(100, 102)))
    case.run()
    assert counts(case)["train"]["b"] == 2
    assert set(counts(case)["test"]) == {"a"}


def test_sources_that_are_all_small_are_split_together(case):
    rows = [row for n in range(6) for row in documents(f"s{n}", [10 * n])]
    write(case, train=rows)
    case.run()
    found = counts(case)
    assert [sum(found[split].values()) for split in found] == [4, 1, 1]


def test_too_few_documents_in_all_sources_stop_the_run(case):
    write(case, train=documents("a", [1]) + documents("b", [2]))
    with pytest.raises(RetuneError, match="2 documents cannot become 3 splits"):
        case.run()


def test_a_source_keeps_the_splits_that_it_has(case):
    write(
        case,
        train=documents("a", range(30)) + documents("b", range(100, 130)),
        validation=documents("a", range(50, 53), "validation"),
    )
    case.run()
    found = counts(case)
    # A validation split of its own is not carved, another source's is.
    assert found["validation"] == {"a": 3, "b": 6}
    assert found["test"] == {"a": 6, "b": 6}


def test_duplicates_and_overlap_count_across_sources(case):
    write(
        case,
        train=documents("a", range(30)) + documents("b", range(100, 130)),
        test=documents("b", [0, 1, 500], "test"),
    )
    case.run()
    assert case.figures["in_other_splits"]["train"]["test"] == 2
    assert counts(case)["test"]["b"] == 3


def test_a_question_of_two_sources_stays_in_one_split(case):
    rows = [
        {**row(f"{source}/{n:04}", asked(f"Q{n}?", f"{source} {n}")), "source": source}
        for source, number in (("a", 40), ("b", 25))
        for n in range(number)
    ]
    write(case, train=rows)
    case.run(overlap_words=0)
    where = {}
    for split in ("train", "validation", "test"):
        for name in case.ids(split):
            where.setdefault(name[-4:], set()).add(split)
    assert len(where) == 40
    assert all(len(splits) == 1 for splits in where.values())
