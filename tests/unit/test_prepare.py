"""What stops the step `prepare`, and what it counts."""

import polars as pl
import pytest

from prepare_case import Case, rows, text
from retune.errors import RetuneError
from retune.publishing import sha256
from retune.text.splits import split_of


@pytest.fixture
def case(tmp_path):
    return Case(tmp_path)


def test_an_empty_split_is_an_error_that_names_settings_and_groups(case):
    case.write(train=rows(range(3)))
    with pytest.raises(RetuneError) as error:
        case.run(validation_share=0, test_share=0.01)
    assert str(error.value).splitlines() == [
        "prepare.validation_share: 0.0 of 3 groups is no document: raise it, change"
        " prepare.seed, or give the data a validation split",
        "prepare.test_share: 0.01 of 3 groups is no document: raise it, change"
        " prepare.seed, or give the data a test split",
    ]
    assert not case.clean.exists()


def test_nothing_left_to_train_on_is_an_error(case):
    case.write(
        train=[{"id": "a", "group": "g", "text": text(1)}], validation=rows([5], "v")
    )
    group = next(
        name for name in map(str, range(99)) if split_of(name, 0, 0, 0.9) == "test"
    )
    case.write(train=[{"id": "a", "group": group, "text": text(1)}])
    with pytest.raises(RetuneError, match="leave none of the 2 groups to train"):
        case.run(validation_share=0.05, test_share=0.9)


def test_a_given_split_of_nothing_but_duplicates_is_an_error(case):
    case.write(train=rows(range(9)), validation=rows([20], "v"), test=rows([20], "t"))
    with pytest.raises(
        RetuneError, match=r"validation\.parquet: all its documents were"
    ):
        case.run()


def test_a_split_lost_to_overlap_names_overlap_words(case):
    case.write(
        train=rows(range(9)),
        validation=[{"id": "v", "group": "v", "text": text(3) + " end"}],
        test=rows([30], "t"),
    )
    with pytest.raises(RetuneError, match=r"overlap_words: 4 removes all 1 validation"):
        case.run(overlap_words=4)


def test_missing_raw_data_names_the_step_to_run(case):
    with pytest.raises(
        RetuneError, match=r"train\.parquet is missing: run .* download"
    ):
        case.run()


def test_a_damaged_file_is_named(case):
    (case.raw / "train.parquet").write_bytes(b"not parquet")
    with pytest.raises(RetuneError, match=r"train\.parquet: not readable as Parquet"):
        case.run()


def test_missing_columns_are_named_with_what_was_found(case):
    frame = pl.DataFrame({"id": [1], "text": ["a"]})
    frame.write_parquet(case.raw / "train.parquet")
    with pytest.raises(RetuneError, match=r"id, group, text; found id \(Int64\), text"):
        case.run()


def test_a_file_without_rows_is_an_error_though_pandera_calls_it_valid(case):
    case.write(train=rows(range(300)), test=[])
    with pytest.raises(RetuneError, match=r"test\.parquet: holds no documents"):
        case.run()


def test_an_error_leaves_earlier_results_untouched(case):
    case.write(train=rows(range(300)))
    case.run()
    before = sha256(case.clean / "manifest.json")
    case.write(train=rows(range(3)))
    with pytest.raises(RetuneError):
        case.run(test_share=0)
    assert sha256(case.clean / "manifest.json") == before
    beside = sorted(path.name for path in case.clean.parent.iterdir())
    assert beside == ["clean", "metrics", "raw"]


def test_figures_count_bytes_words_and_groups(case):
    case.write(
        train=[{"id": "a", "group": "g", "text": "Où est la bibliothèque ?\nIci."}],
        validation=rows([1, 51], "v"),
        test=rows([2, 3], "t"),
    )
    case.run(overlap_words=0)
    figures = case.figures
    assert figures["documents"] == {"train": 1, "validation": 2, "test": 2}
    assert figures["bytes"]["train"] == 31
    assert figures["words"]["train"] == 6
    assert figures["groups"] == {"train": 1, "validation": 1, "test": 2}
