"""`check` counts the steps of a training, and warns as `finetune` does."""

import pytest

from plans import make_plan
from retune.artifacts.tokens_index import SourceBlocks, SplitSize, TokensIndex
from retune.checking.tokens import read_tokens
from retune.checking.training import check_training
from retune.settings import FinetuneSettings


def index(blocks, **sources):
    size = SplitSize(documents=9, sequences=9, tokens=9, bytes=9, blocks=blocks)
    return TokensIndex(
        sequence_length=8,
        has_answers=False,
        packing="wrap",
        vocab_size=9,
        splits=dict.fromkeys(("train", "validation", "test"), size),
        sources=tuple(
            SourceBlocks(
                name=name, documents=9, sequences=9, blocks=number, trained_tokens=9
            )
            for name, number in sources.items()
        ),
        dtype="<u2",
        bos_token_id=0,
        eos_token_id=0,
        tokenizer_sha256="",
    )


def check(tokens, plan=None, **settings):
    plan = plan or make_plan(global_batch_size=4)
    return check_training(FinetuneSettings(**settings), "local", plan, tokens)


def test_steps_are_counted():
    outcome = check(index(400), epochs=2)
    assert (outcome.state, outcome.found) == ("ok", "200 steps of 4 sequences")


def test_a_mixture_counts():
    outcome = check(index(400, one=300, two=100), mix={"one": 0, "two": 3})
    assert outcome.found == "75 steps of 4 sequences"


@pytest.mark.parametrize(
    ("blocks", "settings", "told"),
    [
        (3, {}, "finetune.epochs: 1 of 3 blocks is less than one batch of 4"),
        (40, {}, "finetune.epochs: 1 of 40 blocks makes only 10 steps"),
        (400, {"warmup_steps": 101}, "finetune.warmup_steps: 101, but the run has 100"),
    ],
)
def test_a_short_training_is_a_warning(blocks, settings, told):
    (warning,) = check(index(blocks), **settings).warnings
    assert warning.startswith(told)


def test_steps_that_bf16_would_lose_are_a_warning():
    plan = make_plan(bf16_optimizer_states=True, precision="bf16", zero_stage=1)
    (warning,) = check(index(400), plan, learning_rate=1e-6).warnings
    assert warning.startswith("configure.bf16_optimizer_states: true, but in")


def test_a_source_without_tokens_is_an_error():
    (error,) = check(index(400, one=400), mix={"two": 1}).errors
    assert error.startswith("finetune.mix.two: no training document is of that source")


def test_what_tokenize_has_made_is_read(tmp_path):
    assert read_tokens(tmp_path) is None
    index(400).write(tmp_path)
    found = read_tokens(tmp_path)
    assert (found.length, found.blocks) == (8, 400)
