import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from retune.artifacts.evaluation_metrics import ScoringProtocol
from retune.artifacts.model_facts import ModelFacts
from retune.errors import RetuneError
from retune.evaluation.document_tokens import scored_text
from retune.evaluation.language_model import LoadedModel, load_model
from retune.evaluation.perplexity import (
    plan_windows,
    resolve_lengths,
    resolve_protocol,
    score_tokens,
    windows_per_pass,
)
from retune.evaluation.placement import find_device
from retune.settings import EvaluateSettings
from retune.tokens.sequences import TokenSequence
from tiny_facts import tiny_facts
from tiny_models import SENTENCES, build_tiny_model

# From shorter than a window of 16 to several windows long.
TEXTS = [" ".join(SENTENCES[:count]) for count in (1, 2, 3, 4)] + [
    "x",
    SENTENCES[0] * 9,
]


def load(folder) -> LoadedModel:
    return load_model(folder, ModelFacts.read(folder))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> LoadedModel:
    return load(build_tiny_model(tmp_path_factory.mktemp("tiny")))


def sequences_of(tiny: LoadedModel, texts) -> list[list[TokenSequence]]:
    encoded = tiny.tokenizer.encode_texts(texts).split()
    return [[scored_text(ids, tiny.facts)] for ids in encoded]


def protocol(tiny: LoadedModel, context_length: int, stride: int) -> ScoringProtocol:
    settings = EvaluateSettings(context_length=context_length, stride=stride)
    return resolve_protocol(settings, tiny)


def score(tiny: LoadedModel, context_length: int, stride: int, batch_size: int = 4):
    documents = sequences_of(tiny, TEXTS)
    rules = protocol(tiny, context_length, stride)
    return score_tokens("baseline", tiny, documents, rules, batch_size)


def score_one_token_at_a_time(
    tiny: LoadedModel, tokens: np.ndarray, context_length: int, stride: int
) -> float:
    """Score by the protocol's definition: token i sees the inputs of its window."""
    sequence = [tiny.prefix, *tokens.tolist()]
    nll = 0.0
    for position in range(len(tokens)):
        if position < context_length:
            start = 0
        else:
            steps = (position - context_length) // stride + 1
            end = min(len(tokens), context_length + steps * stride)
            start = end - context_length
        inputs = torch.tensor([sequence[start : position + 1]])
        with torch.inference_mode():
            logits = tiny.model(inputs).logits[0, -1].double()
        nll -= torch.log_softmax(logits, 0)[sequence[position + 1]].item()
    return nll


@given(
    st.integers(0, 400),
    st.integers(1, 64).flatmap(lambda n: st.tuples(st.just(n), st.integers(1, n))),
)
def test_windows_score_every_token_once_and_fit_the_context(num_tokens, lengths):
    context_length, stride = lengths
    scored = []
    for window in plan_windows(num_tokens, context_length, stride):
        assert 0 <= window.start < window.end <= num_tokens
        assert window.end - window.start <= context_length
        assert 1 <= window.scored <= window.end - window.start
        scored += range(window.end - window.scored, window.end)
    assert scored == list(range(num_tokens))


@given(st.integers(1, 400), st.integers(1, 64), st.integers(1, 64))
def test_every_token_has_all_the_context_its_stride_promises(
    num_tokens, length, stride
):
    stride = min(stride, length)
    for window in plan_windows(num_tokens, length, stride):
        first_scored = window.end - window.scored
        assert window.start == 0 or first_scored - window.start >= length - stride


def test_windows_of_a_whole_context_are_disjoint_but_for_the_last():
    assert plan_windows(10, 4, 4) == [(0, 4, 4), (4, 8, 4), (6, 10, 2)]
    assert plan_windows(10, 4, 2) == [(0, 4, 4), (2, 6, 2), (4, 8, 2), (6, 10, 2)]
    assert plan_windows(3, 4, 4) == [(0, 3, 3)]
    assert plan_windows(0, 4, 4) == []


@pytest.mark.parametrize("lengths", [(16, 16), (16, 5), (8, 1)])
def test_scores_are_those_of_one_token_at_a_time(tiny, lengths):
    naive = [
        score_one_token_at_a_time(tiny, tokens, *lengths)
        for tokens in tiny.tokenizer.encode_texts(TEXTS).split()
    ]
    assert score(tiny, *lengths) == pytest.approx(naive, rel=1e-6)


@pytest.mark.parametrize("lengths", [(16, 16), (16, 5)])
def test_the_batch_size_changes_nothing(tiny, lengths):
    alone = score(tiny, *lengths, batch_size=1)
    for batch_size in (2, 3, 64):
        assert score(tiny, *lengths, batch_size) == pytest.approx(alone, rel=1e-6)


def test_the_order_of_the_documents_changes_nothing(tiny):
    documents = sequences_of(tiny, TEXTS)
    rules = protocol(tiny, 16, 16)
    forwards = score_tokens("baseline", tiny, documents, rules, 3)
    backwards = score_tokens("baseline", tiny, documents[::-1], rules, 3)
    assert backwards[::-1] == pytest.approx(forwards, rel=1e-6)


def test_a_model_that_cannot_keep_some_logits_only_scores_the_same(tiny):
    class AllLogits(torch.nn.Module):
        """The same model, whose forward lacks logits_to_keep."""

        def __init__(self):
            super().__init__()
            self.model, self.config = tiny.model, tiny.model.config
            self.device, self.dtype = tiny.model.device, tiny.model.dtype

        def forward(self, input_ids, use_cache):
            return self.model(input_ids=input_ids, use_cache=use_cache)

    documents = sequences_of(tiny, TEXTS)
    rules = protocol(tiny, 16, 5)
    plain = score_tokens(
        "baseline", replace(tiny, model=AllLogits()), documents, rules, 3
    )
    assert plain == pytest.approx(score(tiny, 16, 5), rel=1e-6)


def test_a_document_without_tokens_scores_zero(tiny):
    tokens = [np.array([], dtype=np.int32), np.array([5, 6], dtype=np.int32)]
    documents = [[scored_text(ids, tiny.facts)] for ids in tokens]
    nll = score_tokens("baseline", tiny, documents, protocol(tiny, 16, 16), 4)
    assert nll[0] == 0
    assert nll[1] > 0


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_not_finite_are_refused(tmp_path, value):
    def damage(model):
        model.transformer.ln_f.weight[3] = value

    broken = load(build_tiny_model(tmp_path / "broken", change=damage))
    with pytest.raises(RetuneError, match=r"broken: .*not finite"):
        score(broken, 16, 16)


def test_missing_weights_are_refused(tmp_path):
    from safetensors.torch import load_file, save_file

    folder = build_tiny_model(tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    del weights["transformer.h.1.mlp.c_fc.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(RetuneError, match=r"1 of the model's weights.*h\.1\.mlp\.c_fc"):
        load(folder)


def test_the_prefix_is_the_bos_of_the_facts(tiny):
    facts = tiny.facts.model_copy(update={"bos_token_id": 7})
    other = replace(tiny, facts=facts)
    assert protocol(other, 16, 16).prefix == tiny.tokenizer.name_of(7)
    rules = protocol(tiny, 16, 16)
    plain, changed = (
        score_tokens("baseline", model, sequences_of(model, ["x"]), rules, 1)
        for model in (tiny, other)
    )
    assert plain != pytest.approx(changed)


def test_the_accelerator_is_the_setting_whatever_the_machine_has(monkeypatch):
    for is_there, auto in ((True, "cuda"), (False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=is_there: there)
        assert find_device("cpu") == "cpu"
        assert find_device("auto") == auto
    with pytest.raises(RetuneError, match=r"hardware.accelerator: cuda, but .* no GPU"):
        find_device("cuda")


@pytest.mark.parametrize(
    ("settings", "context", "lengths"),
    [
        ({}, 256, (256, 256)),
        ({}, 32768, (1024, 1024)),
        ({}, None, (1024, 1024)),
        ({"context_length": 4096}, None, (4096, 4096)),
        ({"context_length": 64}, 256, (64, 64)),
        ({"stride": 32}, 256, (256, 32)),
    ],
)
def test_auto_lengths_follow_the_model(settings, context, lengths):
    facts = tiny_facts(context_length=context)
    assert resolve_lengths(EvaluateSettings(**settings), facts) == lengths


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"context_length": 512}, r"evaluate.context_length: 512 .*: 256 at most"),
        ({"stride": 300}, r"evaluate.stride: 300 .*: 256 at most"),
    ],
)
def test_lengths_the_model_cannot_hold_are_refused(settings, message):
    with pytest.raises(RetuneError, match=message):
        resolve_lengths(EvaluateSettings(**settings), tiny_facts(context_length=256))


def test_large_vocabularies_get_fewer_windows_per_pass():
    assert windows_per_pass(8_000, 256, batch_size=16) == 16
    assert windows_per_pass(128_000, 1024, batch_size=16) == 2
    assert windows_per_pass(10**7, 4096, batch_size=16) == 1


def test_running_out_of_memory_names_the_batch_size(tiny, monkeypatch):
    def run_out(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(tiny.model, "forward", run_out)
    with pytest.raises(RetuneError, match=r"evaluate.batch_size: 4 windows of 16 "):
        score(tiny, 16, 16)


def test_the_protocol_names_what_decides_the_scores(tiny):
    rules = protocol(tiny, 16, 4)
    assert (rules.context_length, rules.stride) == (16, 4)
    assert rules.prefix == "<|endoftext|>"
    assert rules.dtype == "float32"
    assert len(rules.tokenizer_sha256) == 64
