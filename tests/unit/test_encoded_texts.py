"""Texts' tokens in one array are those of each text, also where a text has none."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retune.tokens.encoded_texts import EncodedTexts
from tiny_tokenizers import byte_level

TEXTS = st.lists(st.lists(st.integers(0, 9), max_size=5), max_size=6)


def encoded(texts):
    ids = np.array([token for text in texts for token in text], np.int32)
    return EncodedTexts(ids, np.array(list(map(len, texts)), np.int64))


def as_lists(texts):
    return [ids.tolist() for ids in texts.split()]


@given(TEXTS)
def test_texts_come_back(texts):
    assert as_lists(encoded(texts)) == texts


@given(st.lists(TEXTS, min_size=1, max_size=3))
def test_several_are_joined_in_order(parts):
    joined = EncodedTexts.joined(list(map(encoded, parts)))
    assert as_lists(joined) == [text for part in parts for text in part]


@given(TEXTS)
def test_each_text_is_between_two_tokens(texts):
    found = encoded(texts).between(10, 11)
    assert as_lists(found) == [[10, *text, 11] for text in texts]
    assert found.ids.dtype == np.int32


@given(TEXTS, st.integers(0, 9))
def test_texts_with_a_token_are_found(texts, token):
    expected = [number for number, text in enumerate(texts) if token in text]
    assert encoded(texts).texts_with(token) == expected


@given(TEXTS)
def test_tokens_are_replaced(texts):
    found = encoded(texts).replaced({3: 30, 4: 3})
    names = {3: 30, 4: 3}
    assert as_lists(found) == [[names.get(t, t) for t in text] for text in texts]


@pytest.mark.parametrize("texts", [[], [""], ["the dog", "", "a"]])
def test_tokens_are_those_of_the_tokenizer(texts):
    encodings = byte_level().encode_batch(texts)
    found = EncodedTexts.of(encodings)
    assert as_lists(found) == [encoding.ids for encoding in encodings]
    assert found.ids.dtype == np.int32
