"""What stops the step `prepare`, and what it counts."""

import re

import polars as pl
import pytest

from prepare_case import Case, rows, text
from retune.artifacts.publishing import sha256
from retune.errors import RetuneError


@pytest.fixture
def case(tmp_path):
    return Case(tmp_path)


def test_an_empty_split_is_an_error_that_names_settings_and_groups(case):
    case.write(train=rows(range(3)))
    with pytest.raises(RetuneError) as error:
        case.run(validation_share=0, test_share=0)
    assert str(error.value).splitlines() == [
        "prepare.validation_share: 0.0 leaves no validation documents: raise it, or"
        " give the data a validation split",
        "prepare.test_share: 0.0 leaves no test documents: raise it, or give the data"
        " a test split",
    ]
    assert not case.clean.exists()


@pytest.mark.parametrize(("number", "splits"), [(1, 3), (2, 3)])
def test_fewer_groups_than_splits_is_an_error(case, number, splits):
    case.write(train=rows(range(number)))
    with pytest.raises(
        RetuneError, match=f"prepare: {number} documents? .* become {splits} splits"
    ):
        case.run()


def test_a_single_document_names_what_can_be_done(case):
    case.write(train=rows([1]))
    with pytest.raises(RetuneError) as error:
        case.run()
    assert str(error.value) == (
        "prepare: 1 document cannot become 3 splits, because a document is never cut:"
        " give files of their own for validation and test (dataset.files), or make"
        " smaller documents (dataset.txt_documents: line, or dataset.document_start)"
    )


def test_many_documents_of_one_group_name_the_groups(case):
    case.write(train=[{**row, "group": "all"} for row in rows(range(5))])
    with pytest.raises(RetuneError) as error:
        case.run()
    assert str(error.value) == (
        "prepare: 5 documents of 1 group cannot become 3 splits, because a group stays"
        " in one: give more data, or another dataset.group_column"
    )


def test_a_single_document_is_trained_on_where_the_others_are_given(case):
    case.write(train=rows([1]), validation=rows([2], "v"), test=rows([3], "t"))
    case.run()
    assert case.ids("train") == ["d0001"]


REJECTED = [{"id": f"r{n}", "group": f"r{n}", "text": "short"} for n in range(3)]
NAMED_TWICE = [{"id": "twice", "group": "g", "text": text(n)} for n in (900, 901)]
DUPLICATES = [{**row, "text": f" {row['text']}\n"} for row in rows(range(7), "x")]
OVERLAPPING = [
    {"id": f"o{n}", "group": f"o{n}", "text": text(n) + f" end{n}"} for n in range(4)
]


@pytest.mark.parametrize(
    "rejected", [[], REJECTED, NAMED_TWICE, REJECTED + NAMED_TWICE]
)
@pytest.mark.parametrize("duplicates", [[], DUPLICATES, DUPLICATES[:1]])
@pytest.mark.parametrize("overlapping", [[], OVERLAPPING])
@pytest.mark.parametrize("held_out", [[], rows([5, 6, 300], "h")])
def test_the_result_accounts_for_every_document(
    case, rejected, duplicates, overlapping, held_out
):
    splits = {
        "train": rows(range(200)) + rejected + duplicates,
        "validation": rows([400], "v") + overlapping,
        "test": rows([401], "t") + held_out,
    }
    case.write(**splits)
    done = case.run(overlap_words=4)
    came, *became = (
        int(number) for number in re.findall(r"(\d+) (?!of train)[a-z]", done)
    )
    assert came == sum(map(len, splits.values()))
    assert came == sum(became)
    in_train = 2 if held_out else 0
    assert became[3:] == [
        len(rejected),
        len(duplicates) + in_train,
        len(overlapping),
    ]


def test_train_that_holds_nothing_but_test_is_called_that(case):
    case.write(train=rows(range(60)), test=rows(range(60), "t"))
    with pytest.raises(RetuneError) as error:
        case.run()
    assert str(error.value) == (
        "train.parquet: all its 60 documents are in test, too: dataset.files.train"
        " holds nothing that is not in dataset.files.test"
    )
    assert not case.clean.exists()


@pytest.mark.parametrize(("shared", "is_told"), [(59, True), (54, True), (53, False)])
def test_train_that_holds_hardly_anything_but_test_is_called_that(
    case, shared, is_told
):
    case.write(train=rows(range(60)), test=rows(range(shared), "t"))
    if not is_told:
        case.run()
        return
    message = (
        f"train.parquet: {shared} of its 60 documents are in test, too:"
        " dataset.files.train holds hardly anything that is not in dataset.files.test"
    )
    with pytest.raises(RetuneError, match=message):
        case.run()


def test_splits_that_hold_nothing_of_their_own_are_named_together(case):
    case.write(
        train=rows(range(6)), validation=rows(range(4), "v"), test=rows(range(6), "t")
    )
    with pytest.raises(RetuneError) as error:
        case.run()
    assert str(error.value).splitlines() == [
        "train.parquet: all its 6 documents are in test, too: dataset.files.train holds"
        " nothing that is not in dataset.files.test",
        "validation.parquet: all its 4 documents are in test, too:"
        " dataset.files.validation holds nothing that is not in dataset.files.test",
    ]


def test_train_documents_that_are_held_out_are_counted_and_told(case, caplog):
    case.write(
        train=rows(range(60)),
        validation=rows(range(4), "v"),
        test=rows([*range(10, 50), 90], "t"),
    )
    done = case.run()
    assert done.startswith("105 documents: 16 train, 4 validation, 41 test; ")
    assert done.endswith(
        "44 duplicates (44 of train are in validation or test),"
        " 0 overlapping with train"
    )
    assert case.figures["in_other_splits"] == {
        "train": {"validation": 4, "test": 40},
        "validation": {"test": 0},
    }
    told = "40 of 60 train documents are in test, too, and stay only there"
    assert told in caplog.text


def test_a_given_split_of_nothing_but_rejected_documents_is_an_error(case):
    bad = [{"id": "v", "group": "v", "text": "short"}]
    case.write(train=rows(range(9)), validation=bad, test=rows([20], "t"))
    with pytest.raises(
        RetuneError, match=r"validation\.parquet: all its documents were rejected"
    ):
        case.run(max_rejected_share=0.5)


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
