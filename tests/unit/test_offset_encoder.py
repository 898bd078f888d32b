"""Which tokens lie within the trained parts of a text, for every kind of tokenizer."""

import random
from pathlib import Path

import numpy as np
import pytest
from tokenizers import normalizers

from retune.tokens.offset_encoder import OffsetEncoder
from tiny_tokenizers import KINDS

WORDS = [
    "the lazy",
    "word",
    "more",
    "Привет",
    "☃",
    "e\u0301",
    "\ufb01",
    "\n\n",
    "",
    ".",
]


@pytest.mark.parametrize("normalizer", [None, normalizers.NFKC(), normalizers.NFD()])
@pytest.mark.parametrize("kind", KINDS)
def test_tokens_within_a_span_are_trained_and_those_over_its_border_counted(
    kind, normalizer
):
    tokenizer = KINDS[kind]()
    tokenizer.post_processor = None
    if normalizer:
        tokenizer.normalizer = normalizer
    encoder = OffsetEncoder(tokenizer, Path("tokenizer.json"), 10_000, str)
    numbers = random.Random(0)
    for _ in range(50):
        text = " ".join(numbers.choices(WORDS, k=12))
        span = sorted(numbers.sample(range(len(text) + 1), 2))
        (found,) = encoder.encode([text], [[tuple(span)]])
        encoding = tokenizer.encode(text, add_special_tokens=False)
        begins, ends = np.array(encoding.offsets).reshape(-1, 2).T
        inside = (begins >= span[0]) & (ends <= span[1])
        touching = (begins < span[1]) & (ends > span[0])
        assert found.straddling == (touching & ~inside).sum()
        inside[:1] = False
        assert found.trained.tolist() == inside.tolist()
