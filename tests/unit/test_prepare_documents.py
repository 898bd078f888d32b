"""Which documents are kept: checks, duplicates, overlap."""

import logging

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prepare_case import SPLITS, Case, rows, text
from retune.errors import RetuneError
from retune.examples.document_checks import check_clean, reject_bad
from retune.examples.duplicates import drop_duplicates
from retune.settings import PrepareSettings
from retune.steps import prepare


@pytest.fixture
def case(tmp_path):
    return Case(tmp_path)


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
    assert done.endswith(
        "; 0 rejected, 4 duplicates (2 of train are in validation or test),"
        " 0 overlapping with train"
    )
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
    assert case.figures["overlap"] == {
        "words": 13,
        "removed": removed,
        "examples": None,
    }
    case.run(overlap_words=0)
    assert case.ids("validation") == ["b", "v0050"]
