"""Of documents that say nearly the same, one stays: that of the first split."""

import polars as pl
import pytest

from retune.examples.near_duplicates import drop_near_duplicates, resembles_earlier

WORDS = [f"word{number}" for number in range(200)]
LONG = " ".join(WORDS)


def changed(*places):
    """Return the long text with other words at some places."""
    return " ".join(
        "other" if number in places else word for number, word in enumerate(WORDS)
    )


def resembling(texts, similarity=0.8):
    return resembles_earlier(pl.Series(texts, dtype=pl.String), similarity).tolist()


CASES = {
    "the same": ([LONG, LONG], [False, True]),
    "case and punctuation": ([LONG, f"{LONG.upper()}!"], [False, True]),
    "a word in the middle": ([LONG, changed(100)], [False, True]),
    "a word at the end": ([LONG, f"{LONG} more"], [False, True]),
    "half of the words": ([LONG, " ".join(WORDS[:100])], [False, False]),
    "many words": ([LONG, changed(*range(0, 200, 10))], [False, False]),
    "another order": ([LONG, " ".join(reversed(WORDS))], [False, False]),
    "few words": (["a b c d", "a b c d"], [False, False]),
    "no words": (["", "", " "], [False, False, False]),
    "several": (
        [LONG, "a b c d e f", changed(3), changed(7)],
        [False, False, True, True],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_resembles_an_earlier_text(case):
    texts, expected = CASES[case]
    assert resembling(texts) == expected


def test_similarity_is_that_of_the_runs():
    # 196 runs of five words each; five of them hold the other word.
    same = (196 - 5) / (196 + 5)
    assert resembling([LONG, changed(100)], same - 0.08) == [False, True]
    assert resembling([LONG, changed(100)], 1) == [False, False]


def test_chunks_do_not_matter(monkeypatch):
    texts = [changed(number) for number in range(0, 50, 7)] + ["a b c d e f g"]
    whole = resembling(texts)
    monkeypatch.setattr("retune.examples.near_duplicates.CHUNK_BYTES", 1500)
    assert resembling(texts) == whole
    assert whole == [False, *[True] * 7, False]


def test_of_examples_question_and_answer_count_together():
    frame = pl.DataFrame(
        {
            "id": ["a", "b", "c"],
            "example": ["{}"] * 3,
            "question": [LONG, changed(9), LONG],
            "answer": ["Yes, it is.", "Yes, it is.", " ".join(reversed(WORDS))],
        }
    )
    assert drop_near_duplicates(frame, 0.8)["id"].to_list() == ["a", "c"]
    assert drop_near_duplicates(frame, None) is frame
