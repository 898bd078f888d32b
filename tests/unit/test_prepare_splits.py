"""Documents go to train, validation and test, and stay there."""

import json

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prepare_case import SPLITS, Case, rows
from retune.artifacts.publishing import sha256
from retune.errors import RetuneError
from retune.examples.splits import position_of, splits_of


@pytest.fixture
def case(tmp_path):
    return Case(tmp_path)


def names(number):
    return pl.Series([str(n) for n in range(number)])


def places(groups, *shares, seed=0):
    """Return the split of each group, by its name."""
    splits = splits_of(groups, seed, *shares)
    return dict(zip(groups, splits, strict=True))


@given(
    groups=st.lists(st.text(max_size=8), min_size=3, max_size=30, unique=True),
    data=st.data(),
)
def test_neither_order_nor_repetition_moves_a_group(groups, data):
    more = data.draw(st.lists(st.sampled_from(groups), max_size=30))
    shuffled = data.draw(st.permutations(groups + more))
    before = places(pl.Series(groups, dtype=pl.String), 0.3, 0.3, seed=1)
    assert places(pl.Series(shuffled, dtype=pl.String), 0.3, 0.3, seed=1) == before


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("number", "shares", "validation", "test"),
    [
        (3, (0.05, 0.05), 1, 1),
        (3, (0.4, 0.5), 1, 1),
        (4, (0.1, 0.85), 1, 2),
        (30, (0.05, 0.05), 2, 2),
        (100, (0.05, 0.05), 5, 5),
        (100, (0.2, 0.1), 20, 10),
        (100, (0.001, 0), 1, 0),
        (127, (0.05, 0.05), 6, 6),
        (2, (0, 0.05), 0, 1),
        (1, (0, 0), 0, 0),
    ],
)
def test_few_groups_are_counted_off(number, shares, validation, test, seed):
    splits = list(places(names(number), *shares, seed=seed).values())
    assert splits.count("validation") == validation
    assert splits.count("test") == test


@pytest.mark.parametrize(("number", "shares"), [(1, (0.1, 0)), (2, (0.1, 0.1))])
def test_fewer_groups_than_splits_are_refused(number, shares):
    with pytest.raises(RetuneError, match=f"{number} documents? cannot become"):
        splits_of(names(number), 0, *shares)


def test_no_groups_are_in_no_split():
    assert splits_of(pl.Series([], dtype=pl.String), 0, 0.1, 0.1).to_list() == []


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("number", [128, 500, 10_000])
def test_shares_are_met_within_a_third_whatever_the_seed(number, seed):
    splits = list(places(names(number), 0.2, 0.05, seed=seed).values())
    assert splits.count("validation") == pytest.approx(0.2 * number, rel=0.34)
    assert splits.count("test") == pytest.approx(0.05 * number, rel=0.34, abs=1)


def test_seeds_differ():
    assert places(names(200), 0.2, 0.1) != places(names(200), 0.2, 0.1, seed=1)


def test_added_groups_leave_those_of_large_data_where_they_were():
    before = places(names(2_000), 0.05, 0.05)
    assert before.items() <= places(names(9_000), 0.05, 0.05).items()


def test_added_groups_move_those_of_small_data_only_over_the_borders():
    before, after = places(names(60), 0.1, 0.1), places(names(66), 0.1, 0.1)
    moved = {name for name, split in before.items() if split != after[name]}
    assert len(moved) <= 4
    assert not any(before[name] == "train" and after[name] == "test" for name in moved)


def test_the_split_of_a_group_is_the_same_on_every_machine():
    groups = pl.Series(["json", "os", "csv", "io", "re", "ast"])
    assert places(groups, 0.3, 0.3) == {
        "json": "train",
        "os": "validation",
        "csv": "test",
        "io": "validation",
        "re": "train",
        "ast": "test",
    }
    positions = [round(position_of(name, 0), 6) for name in ("json", "os", "csv")]
    assert positions == [0.882342, 0.44597, 0.105154]


def test_groups_stay_together_and_no_id_is_in_two_splits(case):
    case.write(train=rows(range(400)))
    case.run()
    frames = [case.read(name) for name in SPLITS]
    groups = [set(frame["group"]) for frame in frames]
    assert sum(map(len, groups)) == len(set().union(*groups)) == 50
    ids = pl.concat(frames)["id"]
    assert ids.n_unique() == len(ids) == 400


def test_added_documents_leave_the_old_ones_where_they_were(case, tmp_path):
    def alone(numbers):
        return [row | {"group": row["id"]} for row in rows(numbers)]

    larger = Case(tmp_path / "larger")
    case.write(train=alone(range(1000)))
    larger.write(train=alone(range(1000, 1500)) + alone(range(1000)))
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
        "14 documents: 9 train, 3 validation, 2 test; 0 rejected, 0 duplicates,"
        " 0 overlapping with train"
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
