import re

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retune.examples import shared_runs
from retune.examples.shared_runs import chunks_of, shared_part

# Few words, so that runs do repeat; none differs from another by case alone.
WORDS = st.sampled_from(["a", "bb", "it's", "1", "Éa"])
TEXTS = st.lists(st.lists(WORDS, max_size=12).map(" ".join), max_size=6)


def runs_of(text, length):
    words = re.findall(r"\w+", text.lower())
    return {tuple(words[i : i + length]) for i in range(len(words) - length + 1)}


def naive(texts, train, length):
    known = set().union(*(runs_of(text, length) for text in train))
    return [bool(runs_of(text, length) & known) for text in texts]


def shares(texts, train, length):
    return (shared_part(strings(texts), strings(train), length) > 0).to_list()


def strings(texts):
    return pl.Series(texts, dtype=pl.String)


@given(texts=TEXTS, train=TEXTS, length=st.integers(1, 5))
@settings(max_examples=150, deadline=None)
def test_it_agrees_with_a_naive_search(texts, train, length):
    assert shares(texts, train, length) == naive(texts, train, length)


def test_it_agrees_with_a_naive_search_when_train_comes_in_many_chunks(monkeypatch):
    monkeypatch.setattr(shared_runs, "CHUNK_BYTES", 50)
    random = np.random.default_rng(1)
    documents = [" ".join(random.choice(list("abcdef"), 30)) for _ in range(60)]
    expected = naive(documents[:20], documents[20:], 6)
    assert 0 < sum(expected) < 20
    assert shares(documents[:20], documents[20:], 6) == expected


def test_case_and_punctuation_do_not_hide_a_copy():
    assert shares(["The cat, (sat)\non it"], ["xx the CAT sat on it yy"], 5) == [True]


def test_a_run_does_not_reach_from_one_document_into_the_next():
    assert shares(["a b c d"], ["x a b", "c d y"], 3) == [False]
    assert shares(["x a b", "c d y"], ["a b c d"], 3) == [False, False]


def test_a_document_shorter_than_the_run_shares_none():
    assert shares(["a b", ""], ["a b", ""], 3) == [False, False]


@pytest.mark.parametrize(("texts", "train"), [([], ["a b"]), (["a b"], []), ([], [])])
def test_nothing_is_shared_with_nothing(texts, train):
    assert shares(texts, train, 1) == [False] * len(texts)


@given(texts=st.lists(st.text(max_size=9), max_size=20), size=st.integers(1, 30))
def test_chunks_hold_every_text_once_and_in_order(texts, size):
    chunks = list(chunks_of(strings(texts), size))
    assert [text for chunk in chunks for text in chunk] == texts
    assert all(len(chunk) > 0 for chunk in chunks)
