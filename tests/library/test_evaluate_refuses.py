"""What `baseline` and `evaluate` refuse: what would compare unlike things."""

import math

import numpy as np
import pyarrow.parquet as pq
import pytest

from evaluation_case import (
    SETTINGS,
    TEST_TEXTS,
    run_baseline,
    run_evaluate,
)
from retune.artifacts.model_facts import ModelFacts
from retune.artifacts.publishing import read_json, write_json
from retune.errors import RetuneError
from tiny_models import build_tiny_model, write_splits


def test_a_baseline_of_other_documents_is_refused(run_folder):
    texts = [*TEST_TEXTS[:2], TEST_TEXTS[2] + "!"]
    write_splits(run_folder / "data/clean", test=texts)
    with pytest.raises(RetuneError, match=r"documents.parquet: .*other documents"):
        run_evaluate(run_folder)
    assert not (run_folder / "metrics/evaluation.json").exists()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"context_length": 8}, r"context_length 16, now 8; stride 16, now 8"),
        ({"stride": 4}, r"\(stride 16, now 4\): run baseline again"),
        ({"dtype": "bfloat16"}, r"\(dtype float32, now bfloat16\): run baseline"),
    ],
)
def test_a_baseline_of_another_protocol_is_refused(run_folder, changed, message):
    with pytest.raises(RetuneError, match=message):
        run_evaluate(run_folder, SETTINGS.model_copy(update=changed))


def test_a_baseline_with_another_prefix_is_refused(run_folder):
    path = run_folder / "metrics/baseline.json"
    metrics = read_json(path)
    metrics["protocol"]["prefix"] = "<s>"
    write_json(path, metrics)
    with pytest.raises(RetuneError, match=r"prefix <s>, now <\|endoftext\|>"):
        run_evaluate(run_folder)


def test_a_baseline_that_counted_other_tokens_is_refused(run_folder):
    path = run_folder / "results/baseline/documents.parquet"
    table = pq.read_table(path)
    at = table.column_names.index("tokens")
    pq.write_table(table.set_column(at, "tokens", table["bytes"]), path)
    with pytest.raises(RetuneError, match="counted other tokens"):
        run_evaluate(run_folder)


@pytest.mark.parametrize(
    ("step", "model"), [(run_baseline, "base"), (run_evaluate, "consolidated")]
)
@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"tokenizer_class": "GPT2Tokenizer", "add_prefix_space": True},
            r"encodes document 'validation-0' of validation otherwise than"
            r" tokenizer.json, by which the model is trained: token 0 is ",
        ),
        ({"tokenizer_class": "T5Tokenizer"}, "its tokenizer cannot be read by Transf"),
    ],
)
def test_a_folder_that_others_tokenize_otherwise_is_refused(
    run_folder, step, model, config, message
):
    path = run_folder / "models" / model / "tokenizer_config.json"
    write_json(path, {**read_json(path), **config})
    with pytest.raises(RetuneError, match=rf"models/{model}: .*{message}"):
        step(run_folder)


def test_other_tokens_than_those_of_tokenize_are_refused(run_folder):
    path = run_folder / "data/tokens/test.tokens.bin"
    stream = np.fromfile(path, "<u2")
    stream[-3] += 1
    stream.tofile(path)
    message = r"test.tokens.bin has other tokens of document 'test-2' of test .* again"
    with pytest.raises(RetuneError, match=message):
        run_evaluate(run_folder)


@pytest.mark.parametrize("split", ["validation", "test"])
def test_other_documents_than_those_of_tokenize_are_refused(run_folder, split):
    path = run_folder / f"data/tokens/{split}.sequences.bin"
    np.fromfile(path, "<i8")[:-1].tofile(path)
    with pytest.raises(RetuneError, match=rf"{split}.tokens.bin has . sequences, and"):
        run_evaluate(run_folder)


def test_another_tokenizer_in_the_tuned_folder_is_refused(run_folder):
    path = run_folder / "models/consolidated/tokenizer.json"
    content = read_json(path)
    vocab = content["model"]["vocab"]
    vocab["a"], vocab["t"] = vocab["t"], vocab["a"]
    write_json(path, content)
    with pytest.raises(RetuneError, match=r"other tokens of .* than .*consolidated"):
        run_evaluate(run_folder)


def test_a_baseline_that_took_special_tokens_otherwise_is_refused(run_folder):
    base = run_folder / "models/base"
    facts = ModelFacts.read(base).model_copy(update={"split_special_tokens": False})
    facts.write(base)
    with pytest.raises(RetuneError, match="split_special_tokens True, now False"):
        run_evaluate(run_folder)


def test_counts_of_another_tokenizer_are_refused(run_folder):
    np.save(run_folder / "data/tokens/train.counts.npy", np.ones(20, dtype="<i8"))
    with pytest.raises(RetuneError, match=r"train.counts.npy counts 20 tokens"):
        run_evaluate(run_folder)


def test_weights_that_are_not_finite_leave_no_results(run_folder):
    def damage(model):
        model.transformer.wte.weight[7] = math.nan

    build_tiny_model(run_folder / "models/consolidated", change=damage)
    with pytest.raises(RetuneError, match=r"consolidated: .*not finite"):
        run_evaluate(run_folder)
    assert not (run_folder / "metrics/evaluation.json").exists()
    assert not (run_folder / "results/evaluate").exists()
