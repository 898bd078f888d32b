"""The steps `baseline` and `evaluate`: what they count, sum up and compare."""

import math
from shutil import copytree

import numpy as np
import pyarrow.parquet as pq
import pytest
from transformers import AutoTokenizer

from evaluation_case import (
    TEST_TEXTS,
    make_tokens,
    run_baseline,
    run_evaluate,
    strict_json,
)
from retune.artifacts.model_facts import ModelFacts
from retune.artifacts.publishing import read_json, write_json
from retune.errors import RetuneError
from retune.evaluation.document_scores import perplexity, total_scores
from tiny_models import write_splits


def test_the_baseline_counts_each_document(inputs):
    table = pq.read_table(inputs / "results/baseline/documents.parquet")
    assert table.column_names == ["split", "id", "nll", "tokens", "bytes", "words"]
    assert table["split"].to_pylist() == ["validation"] * 2 + ["test"] * 3
    assert table["id"].to_pylist()[2:] == ["test-0", "test-1", "test-2"]
    assert table["bytes"].to_pylist()[2:] == [len(t.encode()) for t in TEST_TEXTS]
    # Like lm-evaluation-harness: a leading blank makes one word more.
    assert table["words"].to_pylist()[2:4] == [4, 10]
    assert str(table.schema.field("nll").type) == "double"
    assert min(table["nll"].to_pylist()) > 0


def test_the_sums_of_the_baseline_are_those_of_its_documents(inputs):
    table = pq.read_table(inputs / "results/baseline/documents.parquet")
    test = strict_json(inputs / "metrics/baseline.json")["test"]
    nll = sum(table["nll"].to_pylist()[2:])
    tokens = sum(table["tokens"].to_pylist()[2:])
    num_bytes = sum(len(text.encode()) for text in TEST_TEXTS)
    assert (test["documents"], test["bytes"], test["tokens"]) == (3, num_bytes, tokens)
    assert test["nll"] == pytest.approx(nll)
    assert test["bits_per_byte"] == pytest.approx(nll / math.log(2) / num_bytes)
    assert test["token_perplexity"] == pytest.approx(math.exp(nll / tokens))


def test_the_result_line_of_the_baseline(run_folder):
    bits = read_json(run_folder / "metrics/baseline.json")["test"]["bits_per_byte"]
    assert run_baseline(run_folder) == f"bits per byte {bits:.2f} on 3 documents"


def test_evaluate_compares_both_models_on_the_same_bytes(run_folder):
    line = run_evaluate(run_folder)
    metrics = strict_json(run_folder / "metrics/evaluation.json")
    before = read_json(run_folder / "metrics/baseline.json")
    test = metrics["test"]
    assert test["base"] == before["test"]
    assert metrics["protocol"] == before["protocol"]
    assert test["tuned"]["tokens"] == test["base"]["tokens"]
    change = test["tuned"]["bits_per_byte"] - test["base"]["bits_per_byte"]
    # Random weights that speak less loudly are less wrong.
    assert change < -1
    assert test["bits_per_byte_change"] == pytest.approx(change)
    low, high = test["bits_per_byte_change_low"], test["bits_per_byte_change_high"]
    assert low < change < high
    assert test["win_rate"] == 1
    assert metrics["validation"]["bits_per_byte_change"] < 0
    assert line == (
        f"bits per byte {test['base']['bits_per_byte']:.2f} ->"
        f" {test['tuned']['bits_per_byte']:.2f}"
        f" ({change:+.2f}, 95 % {low:+.2f} to {high:+.2f})"
    )


def test_a_model_compared_with_itself_has_not_changed(run_folder):
    copytree(
        run_folder / "models/base",
        run_folder / "models/consolidated",
        dirs_exist_ok=True,
    )
    run_evaluate(run_folder)
    test = read_json(run_folder / "metrics/evaluation.json")["test"]
    keys = ("change", "change_low", "change_high")
    assert [test[f"bits_per_byte_{key}"] for key in keys] == [0, 0, 0]
    assert test["win_rate"] == 0.5


def test_the_floors_are_those_of_the_definition(run_folder):
    run_evaluate(run_folder)
    floors = read_json(run_folder / "metrics/evaluation.json")["test"]["floors"]
    counts = np.load(run_folder / "data/tokens/train.counts.npy").tolist()
    tokenizer = AutoTokenizer.from_pretrained(run_folder / "models/base")
    num_bytes = tokens = bits = 0
    for text in TEST_TEXTS:
        num_bytes += len(text.encode())
        for token in tokenizer(text)["input_ids"]:
            tokens += 1
            bits -= math.log2((counts[token] + 1) / (sum(counts) + len(counts)))
    uniform = tokens * math.log2(len(counts)) / num_bytes
    assert floors["unigram_bits_per_byte"] == pytest.approx(bits / num_bytes)
    assert floors["uniform_bits_per_byte"] == pytest.approx(uniform)
    assert floors["unigram_bits_per_byte"] < floors["uniform_bits_per_byte"]


def test_the_same_inputs_give_the_same_bytes(run_folder):
    results = ("metrics/evaluation.json", "results/evaluate/documents.parquet")
    run_evaluate(run_folder)
    first = [(run_folder / path).read_bytes() for path in results]
    run_evaluate(run_folder)
    assert [(run_folder / path).read_bytes() for path in results] == first


def test_a_model_whose_tokenizer_names_no_eos_is_evaluated_with_that_of_its_config(
    run_folder,
):
    run_evaluate(run_folder)
    before = (run_folder / "metrics/evaluation.json").read_bytes()
    for model in ("base", "consolidated"):
        path = run_folder / "models" / model / "tokenizer_config.json"
        write_json(path, {"tokenizer_class": "PreTrainedTokenizerFast"})
    run_baseline(run_folder)
    run_evaluate(run_folder)
    assert (run_folder / "metrics/evaluation.json").read_bytes() == before


@pytest.mark.parametrize("are_text", [True, False])
def test_special_tokens_in_documents_are_what_they_are_in_training(
    run_folder, are_text
):
    base = run_folder / "models/base"
    facts = ModelFacts.read(base).model_copy(update={"split_special_tokens": are_text})
    facts.write(base)
    spelled = "Return <|endoftext|> the list."
    write_splits(run_folder / "data/clean", test=[spelled])
    make_tokens(run_folder)
    run_baseline(run_folder)
    run_evaluate(run_folder)
    metrics = read_json(run_folder / "metrics/evaluation.json")
    assert metrics["protocol"]["split_special_tokens"] is are_text
    special = AutoTokenizer.from_pretrained(base)(
        spelled, split_special_tokens=are_text
    )["input_ids"]
    assert metrics["test"]["tuned"]["tokens"] == len(special)


def test_an_empty_validation_split_is_null_and_an_empty_test_split_refused(run_folder):
    write_splits(run_folder / "data/clean", validation=[])
    make_tokens(run_folder)
    run_baseline(run_folder)
    run_evaluate(run_folder)
    validation = strict_json(run_folder / "metrics/evaluation.json")["validation"]
    assert validation["base"]["documents"] == 0
    assert validation["base"]["bits_per_byte"] is None
    write_splits(run_folder / "data/clean", test=[])
    with pytest.raises(RetuneError, match=r"test.parquet has no document"):
        run_baseline(run_folder)


def test_a_perplexity_beyond_float64_is_null():
    assert perplexity(709.0, 1) == pytest.approx(math.exp(709))
    assert perplexity(7100.0, 10) is None


def test_words_and_bytes_have_their_own_ratios(inputs):
    table = pq.read_table(inputs / "results/baseline/documents.parquet").slice(2)
    sums = total_scores(table)
    expected = math.exp(sums.nll / sums.words)
    assert sums.word_perplexity == pytest.approx(expected)
