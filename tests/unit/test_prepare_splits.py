"""Documents go to train, validation and test, and stay there."""

import json

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prepare_case import SPLITS, Case, rows
from retune.publishing import sha256
from retune.text.splits import split_of, splits_of


@pytest.fixture
def case(tmp_path):
    return Case(tmp_path)


@given(
    groups=st.lists(st.text(max_size=8), min_size=1, max_size=30),
    more=st.lists(st.text(max_size=8), max_size=30),
    data=st.data(),
)
def test_neither_order_nor_additions_move_a_group(groups, more, data):
    shuffled = data.draw(st.permutations(groups + more))
    before = splits_of(pl.Series(groups, dtype=pl.String), 1, 0.3, 0.3)
    after = splits_of(pl.Series(shuffled, dtype=pl.String), 1, 0.3, 0.3)
    place = dict(zip(shuffled, after, strict=True))
    assert before.to_list() == [place[group] for group in groups]


def test_shares_are_met_and_seeds_differ():
    names = [str(number) for number in range(10_000)]
    first = [split_of(name, 0, 0.2, 0.1) for name in names]
    assert first.count("validation") == pytest.approx(2_000, abs=200)
    assert first.count("test") == pytest.approx(1_000, abs=150)
    assert first != [split_of(name, 1, 0.2, 0.1) for name in names]


def test_the_split_of_a_group_is_the_same_on_every_machine():
    splits = [split_of(name, 0, 0.3, 0.3) for name in ("json", "os", "csv", "io")]
    assert splits == ["train", "validation", "test", "validation"]


def test_groups_stay_together_and_no_id_is_in_two_splits(case):
    case.write(train=rows(range(400)))
    case.run()
    frames = [case.read(name) for name in SPLITS]
    groups = [set(frame["group"]) for frame in frames]
    assert sum(map(len, groups)) == len(set().union(*groups)) == 50
    ids = pl.concat(frames)["id"]
    assert ids.n_unique() == len(ids) == 400


def test_added_documents_leave_the_old_ones_where_they_were(case, tmp_path):
    larger = Case(tmp_path / "larger")
    case.write(train=rows(range(200)))
    larger.write(train=rows(range(300, 500), "new") + rows(range(200)))
    case.run()
    larger.run()
    for name in SPLITS:
        assert set(case.ids(name)) <= set(larger.ids(name))


def test_splits_of_the_data_are_respected_and_only_the_missing_one_is_carved(case):
    case.write(train=rows(range(200)), test=rows(range(200, 205), "t"))
    case.run()
    assert case.ids("test") == [f"t{number:04}" for number in range(200, 205)]
    assert len(case.ids("validation")) > 10
    assert case.figures["documents"]["train"] > 100


def test_three_given_splits_stay_as_they_are(case):
    given_splits = {
        "train": rows(range(9)),
        "validation": rows(range(10, 13), "v"),
        "test": rows(range(20, 22), "t"),
    }
    case.write(**given_splits)
    done = case.run()
    assert done == (
        "14 documents: 9 train, 3 validation, 2 test; 0 rejected, 0 duplicates"
    )
    for name, values in given_splits.items():
        assert case.read(name).to_dicts() == values


def test_the_same_rows_in_any_order_give_the_same_bytes(case, tmp_path):
    other = Case(tmp_path / "other")
    bad = [{"id": None, "group": "g", "text": f"bad{n}"} for n in range(5)]
    values = rows(range(300)) + bad
    case.write(train=values)
    other.write(train=values[::-1])
    case.run()
    other.run()
    names = [*(f"{name}.parquet" for name in (*SPLITS, "rejected")), "manifest.json"]
    for name in names:
        assert sha256(case.clean / name) == sha256(other.clean / name)
    assert case.metrics.read_text() == other.metrics.read_text()


def test_the_manifest_lists_every_file(case):
    case.write(train=rows(range(300)))
    case.run()
    manifest = json.loads((case.clean / "manifest.json").read_text())
    for entry in manifest["files"]:
        assert entry["sha256"] == sha256(case.clean / entry["path"])
    assert len(manifest["files"]) == 4
