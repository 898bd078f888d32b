import json
import logging

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retune import prepare
from retune.errors import RetuneError
from retune.publishing import sha256
from retune.settings import PrepareSettings
from retune.text.document_checks import check_clean, reject_bad
from retune.text.splits import drop_duplicates, split_of, splits_of

SPLITS = ("train", "validation", "test")


def text(number):
    """A valid text that shares no three words with that of another number."""
    return f"word{number}a word{number}b\nword{number}c word{number}d"


def rows(numbers, prefix="d"):
    return [
        {"id": f"{prefix}{n:04}", "group": f"{prefix}{n % 50}", "text": text(n)}
        for n in numbers
    ]


class Case:
    """Raw data in a temporary folder, and what `prepare` makes of it."""

    def __init__(self, folder):
        self.raw, self.clean = folder / "raw", folder / "clean"
        self.metrics = folder / "metrics/data.json"
        self.raw.mkdir(parents=True)

    def write(self, **splits):
        for name, values in splits.items():
            schema = dict.fromkeys(("id", "group", "text"), pl.String)
            frame = pl.DataFrame(values, schema, orient="row")
            frame.write_parquet(self.raw / f"{name}.parquet")

    def run(self, **settings):
        # Shares at which none of the few groups here leaves a split empty.
        shares = {"validation_share": 0.2, "test_share": 0.2}
        checked = PrepareSettings(**shares | settings)
        return prepare.run(checked, self.raw, self.clean, self.metrics)

    def read(self, name):
        return pl.read_parquet(self.clean / f"{name}.parquet")

    def ids(self, name):
        return self.read(name)["id"].to_list()

    @property
    def figures(self):
        return json.loads(self.metrics.read_text())


@pytest.fixture
def case(tmp_path):
    return Case(tmp_path)


# Splits


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


# Rejected documents

BAD = {
    "id_missing": {"id": None, "group": "g", "text": text(900)},
    "group_missing": {"id": "x1", "group": None, "text": text(901)},
    "text_missing": {"id": "x2", "group": "g", "text": None},
    "text_too_short": {"id": "x3", "group": "g", "text": "only nineteen chars"},
    "text_with_nul": {"id": "x4", "group": "g", "text": text(902) + "\0"},
    "text_without_letters": {
        "id": "x5",
        "group": "g",
        "text": "1234 5678 - 90.12 34 +",
    },
}


@pytest.mark.parametrize("check", BAD)
def test_each_reason_is_found_and_named(case, check):
    case.write(train=[*rows(range(300)), BAD[check]])
    case.run()
    assert case.figures["rejected"] == {
        "count": 1,
        "share": 1 / 301,
        "by_check": {check: 1},
    }
    wanted = {"id": BAD[check]["id"], "split": "train", "check": check}
    assert case.read("rejected").to_dicts() == [wanted | {"text": BAD[check]["text"]}]


def test_repeated_ids_are_all_rejected_also_across_splits(case):
    twin = rows([7])[0] | {"text": text(800)}
    case.write(train=rows(range(300)), test=[twin, *rows(range(400, 403))])
    case.run()
    rejected = case.read("rejected").sort("split")
    assert rejected["id"].to_list() == ["d0007", "d0007"]
    assert rejected["split"].to_list() == ["test", "train"]
    assert case.figures["rejected"]["by_check"] == {"id_repeated": 2}


def test_missing_ids_do_not_count_as_repeated(case):
    missing = [{"id": None, "group": "g", "text": text(n)} for n in (900, 901)]
    case.write(train=[*rows(range(300)), *missing])
    case.run()
    assert case.figures["rejected"]["by_check"] == {"id_missing": 2}


def test_all_reasons_are_reported_at_once(case):
    case.write(train=[*rows(range(300)), *BAD.values()])
    assert "6 rejected" in case.run(max_rejected_share=0.1)
    assert case.figures["rejected"]["by_check"] == dict.fromkeys(sorted(BAD), 1)


def test_a_document_that_fails_several_checks_is_rejected_once(case):
    case.write(train=[*rows(range(300)), {"id": "x", "group": "g", "text": "1\0"}])
    case.run()
    (row,) = case.read("rejected").to_dicts()
    assert row["check"] == "text_too_short, text_with_nul, text_without_letters"
    assert case.figures["rejected"]["count"] == 1


def test_min_characters_counts_characters_without_the_blanks_around(case):
    texts = {"fits": "é" * 20, "pads": "é" * 19 + " " * 9}
    values = [{"id": key, "group": key, "text": value} for key, value in texts.items()]
    case.write(train=rows(range(300)) + values)
    case.run(min_characters=20)
    assert case.ids("rejected") == ["pads"]


def test_too_many_rejected_stops_with_the_counts_and_publishes_nothing(case):
    short = [
        {"id": f"s{n}", "group": "g", "text": "short\x1b" * n} for n in range(1, 4)
    ]
    case.write(train=[*rows(range(27)), *short])
    with pytest.raises(RetuneError) as error:
        case.run(max_rejected_share=0.05)
    message = str(error.value)
    assert message.startswith("prepare.max_rejected_share: 0.05, but 3 of 30")
    assert "10.0%" in message
    assert "text_too_short: 3, such as train 's1': 'short\\x1b'; train 's2'" in message
    assert not case.clean.exists()
    assert not case.metrics.exists()
    kept = case.clean.with_name("rejected.parquet")
    assert str(kept) in message
    assert pl.read_parquet(kept)["id"].to_list() == ["s1", "s2", "s3"]
    case.run(max_rejected_share=0.1)
    assert not kept.exists()


def test_exactly_the_allowed_share_passes(case):
    short = [{"id": f"s{n}", "group": "g", "text": "short"} for n in range(30)]
    case.write(train=rows(range(270)) + short)
    assert "30 rejected" in case.run(max_rejected_share=0.1)


def test_examples_in_the_log_are_short(case, caplog):
    bad = {"id": "x4", "group": "g", "text": "secret " * 500 + "\0"}
    case.write(train=[*rows(range(300)), bad])
    with caplog.at_level(logging.INFO, logger="retune"):
        case.run()
    assert "1 of 301 documents (0.3%) rejected" in caplog.text
    assert "text_with_nul: 1, such as train 'x4': 'secret secret" in caplog.text
    assert max(map(len, caplog.messages)) < 200


def test_a_failing_check_is_a_bug_and_not_bad_data():
    frame = pl.DataFrame({"id": ["a"], "group": ["g"], "text": [3]})
    with pytest.raises(AssertionError, match="the frame, not its rows"):
        reject_bad(frame, PrepareSettings())


def test_the_final_check_finds_an_id_in_two_splits():
    frame = pl.DataFrame(rows([1, 2])).with_columns(split=pl.lit("train"))
    check_clean(frame, 20)
    twice = pl.concat([frame, frame[:1].with_columns(split=pl.lit("test"))])
    with pytest.raises(AssertionError, match="id_repeated, text.field_uniqueness"):
        check_clean(twice, 20)


def test_what_the_final_check_refuses_is_not_published(case, monkeypatch):
    def repeat_all(documents):
        return pl.concat([documents, documents])

    monkeypatch.setattr(prepare, "drop_duplicates", repeat_all)
    case.write(train=rows(range(300)))
    with pytest.raises(AssertionError, match="id_repeated"):
        case.run()
    assert not case.clean.exists()


# Duplicates


@given(
    st.lists(
        st.sampled_from(["a b", "a  b", " a\nb ", "Caf\u00e9", "Cafe\u0301", "c", ""]),
        max_size=20,
    )
)
def test_exactly_one_of_equal_texts_stays_and_it_is_the_first(texts):
    import unicodedata

    def key(value):
        return " ".join(unicodedata.normalize("NFC", value).split())

    frame = pl.DataFrame({"text": texts}, {"text": pl.String}).with_row_index()
    first = {}
    for index, value in enumerate(texts):
        first.setdefault(key(value), index)
    assert drop_duplicates(frame)["index"].to_list() == list(first.values())


def test_of_equal_documents_test_wins_over_validation_over_train(case):
    same_as = {"x": text(1), "y": text(2)}
    case.write(
        train=[
            *rows(range(10, 20)),
            {"id": "a", "group": "a", "text": same_as["x"]},
            {"id": "b", "group": "b", "text": same_as["y"]},
        ],
        validation=[
            {"id": "c", "group": "c", "text": same_as["x"]},
            {"id": "d", "group": "d", "text": same_as["y"].replace("\n", "  ")},
        ],
        test=[
            {"id": "f", "group": "f", "text": same_as["x"] + "\n"},
            {"id": "e", "group": "e", "text": same_as["x"]},
        ],
    )
    done = case.run()
    assert done.endswith("; 0 rejected, 4 duplicates")
    assert case.ids("validation") == ["d"]
    assert case.ids("test") == ["e"]
    assert len(case.ids("train")) == 10
    assert case.figures["duplicates_removed"] == 4


def test_texts_become_nfc_and_are_otherwise_untouched(case):
    odd = "  Cafe\u0301 au lait,\r\n\n\tand more \n"
    case.write(train=[*rows(range(300)), {"id": "odd", "group": "d0", "text": odd}])
    case.run()
    everything = pl.concat([case.read(name) for name in SPLITS])
    (found,) = everything.filter(pl.col("id") == "odd")["text"]
    assert found == odd.replace("e\u0301", "\u00e9")


# Overlap


def test_held_out_documents_that_repeat_train_are_dropped_and_counted(case):
    common = " ".join(f"common{number}" for number in range(13))
    case.write(
        train=[*rows(range(9)), {"id": "a", "group": "a", "text": f"x {common} y"}],
        validation=[*rows([50], "v"), {"id": "b", "group": "b", "text": f"z {common}"}],
        test=[*rows([51], "t"), {"id": "c", "group": "c", "text": common[:-2]}],
    )
    case.run()
    assert case.ids("validation") == ["v0050"]
    assert case.ids("test") == ["c", "t0051"]
    removed = {"validation": 1, "test": 0}
    assert case.figures["overlap"] == {"words": 13, "removed": removed}
    case.run(overlap_words=0)
    assert case.ids("validation") == ["b", "v0050"]


# What stops the step


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
