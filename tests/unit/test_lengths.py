"""A model is given as many tokens in a row as it can, and computes alike."""

import pytest

from retune.errors import RetuneError
from retune.tokens.lengths import resolve_length
from tiny_facts import tiny_facts

KEY = "tokenize.sequence_length"


def resolve(wanted, context, invariant=None):
    facts = tiny_facts(context_length=context, batch_invariant_length=invariant)
    return resolve_length(KEY, wanted, facts, longest_auto=2048)


@pytest.mark.parametrize(
    ("wanted", "context", "invariant", "length"),
    [
        ("auto", None, None, 2048),
        ("auto", 512, None, 512),
        ("auto", 131_072, None, 2048),
        ("auto", 131_072, 4096, 2048),
        ("auto", 4096, 1024, 1024),
        (64, 512, None, 64),
        (4096, 131_072, 4096, 4096),
        (8192, None, None, 8192),
    ],
)
def test_a_length_that_the_model_takes_is_taken(wanted, context, invariant, length):
    assert resolve(wanted, context, invariant) == length


def test_a_length_beyond_the_context_is_refused():
    with pytest.raises(RetuneError, match=f"{KEY}: 513 is longer .* 512 at most"):
        resolve(513, 512)


def test_a_length_at_which_documents_change_each_other_is_refused():
    message = f"{KEY}: 4097, but beyond 4096 tokens this gpt2 model .*: 4096 at most"
    with pytest.raises(RetuneError, match=message):
        resolve(4097, 131_072, 4096)
