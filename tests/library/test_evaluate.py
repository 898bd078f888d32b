import json
import math
import weakref
from pathlib import Path
from shutil import copytree

import numpy as np
import pyarrow.parquet as pq
import pytest
from transformers import AutoTokenizer

import retune.evaluate
from retune import baseline, evaluate
from retune.artifacts.model_facts import FILE as FACTS
from retune.artifacts.model_facts import ModelFacts
from retune.errors import RetuneError
from retune.publishing import (
    FILES,
    SEAL,
    read_json,
    write_json,
    write_manifest,
    write_sealed,
)
from retune.scoring.document_scores import perplexity, summarize
from retune.settings import SPLITS, EvaluateSettings
from retune.tokenize import count_tokens, write_split
from retune.tokens.tokenizer import ModelTokenizer
from tiny_models import SENTENCES, build_tiny_model, write_splits

SETTINGS = EvaluateSettings(
    bootstrap_draws=200, prompts=["Return the", ""], max_new_tokens=6
)
TEST_TEXTS = [
    "Return an empty list.",
    "  The module writes the number of items – naïve.",
    SENTENCES[1] * 3,
]


def sharpen(model) -> None:
    """Make a model that differs from the base: its last layer speaks louder."""
    model.transformer.ln_f.weight.mul_(0.3)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> Path:
    """Return a folder with what both steps read, and the baseline's results."""
    root = tmp_path_factory.mktemp("run")
    build_tiny_model(root / "models/base")
    build_tiny_model(root / "models/consolidated", change=sharpen)
    (root / "models/consolidated" / FACTS).unlink()
    write_splits(
        root / "data/clean", train=SENTENCES, validation=SENTENCES[2:], test=TEST_TEXTS
    )
    make_tokens(root)
    run_baseline(root)
    return root


def make_tokens(root: Path) -> None:
    """Write what `evaluate` reads of `tokenize`, which refuses so few tokens."""
    base, tokens = root / "models/base", root / "data/tokens"
    facts = ModelFacts.read(base)
    tokens.mkdir(exist_ok=True)
    for split in SPLITS:
        write_split(
            root / f"data/clean/{split}.parquet",
            tokens,
            split,
            ModelTokenizer.of(base, facts),
            facts,
        )
    write_json(tokens / "tokens.json", {"dtype": "<u2"})
    counts = count_tokens(tokens / "train.tokens.bin", np.dtype("<u2"), 300)
    np.save(tokens / "train.counts.npy", counts)


@pytest.fixture
def run_folder(inputs, tmp_path) -> Path:
    """Return a copy of the inputs that a test may change."""
    return copytree(inputs, tmp_path / "run")


def run_baseline(root: Path, settings: EvaluateSettings = SETTINGS) -> str:
    seal_folders(root)
    return baseline.run(
        settings,
        "cpu",
        base=root / "models/base",
        clean=root / "data/clean",
        documents=root / "results/baseline/documents.parquet",
        metrics=root / "metrics/baseline.json",
    )


def run_evaluate(root: Path, settings: EvaluateSettings = SETTINGS) -> str:
    seal_folders(root)
    metrics = read_json(root / "metrics/baseline.json")
    values = {k: v for k, v in metrics.items() if k not in (FILES, SEAL)}
    documents = root / "results/baseline/documents.parquet"
    write_sealed(root / "metrics/baseline.json", values, [documents])
    return evaluate.run(
        settings,
        "cpu",
        consolidated=root / "models/consolidated",
        base=root / "models/base",
        clean=root / "data/clean",
        tokens=root / "data/tokens",
        baseline_documents=root / "results/baseline/documents.parquet",
        baseline_metrics=root / "metrics/baseline.json",
        documents=root / "results/evaluate/documents.parquet",
        samples=root / "results/evaluate/samples.json",
        metrics=root / "metrics/evaluation.json",
    )


def seal_folders(root: Path) -> None:
    """Leave folders as their steps do, whatever a test has changed in them."""
    for folder in root.glob("*/*"):
        if folder.parent.name in ("models", "data"):
            write_manifest(folder)


def strict_json(path: Path):
    """Read JSON as its standard has it, without NaN and Infinity."""

    def refuse(constant: str):
        raise AssertionError(f"{constant} in {path}")

    return json.loads(path.read_text(), parse_constant=refuse)


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


def test_the_result_line_of_the_baseline(inputs):
    bits = read_json(inputs / "metrics/baseline.json")["test"]["bits_per_byte"]
    assert run_baseline(inputs) == f"bits per byte {bits:.2f} on 3 documents"


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
    for sample in read_json(run_folder / "results/evaluate/samples.json")["samples"]:
        assert sample["tuned"] == sample["base"]
        assert sample["tuned_sampled"] == sample["base_sampled"]


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
    results = ("metrics/evaluation.json", "results/evaluate/samples.json")
    results += ("results/evaluate/documents.parquet",)
    run_evaluate(run_folder)
    first = [(run_folder / path).read_bytes() for path in results]
    run_evaluate(run_folder)
    assert [(run_folder / path).read_bytes() for path in results] == first


def test_samples_stand_side_by_side_with_their_settings(run_folder):
    run_evaluate(run_folder)
    samples = strict_json(run_folder / "results/evaluate/samples.json")
    assert samples["settings"]["max_new_tokens"] == 6
    assert samples["settings"]["seed"] == 0
    assert samples["settings"]["sampled"]["temperature"] == 0.8
    assert [sample["prompt"] for sample in samples["samples"]] == ["Return the", ""]
    first = samples["samples"][0]
    assert set(first) == {"prompt", "base", "tuned", "base_sampled", "tuned_sampled"}
    assert first["base"]
    assert first["base"] != first["base_sampled"]
    # Scaling the logits leaves the likeliest token what it was, and changes the draw.
    assert first["tuned"] == first["base"]
    assert first["tuned_sampled"] != first["base_sampled"]


def test_the_seed_decides_the_draws_and_not_the_likeliest_words(run_folder):
    texts = []
    for seed in (0, 1):
        run_evaluate(run_folder, SETTINGS.model_copy(update={"seed": seed}))
        path = run_folder / "results/evaluate/samples.json"
        texts.append(read_json(path)["samples"][0])
    assert texts[0]["base"] == texts[1]["base"]
    assert texts[0]["base_sampled"] != texts[1]["base_sampled"]


def test_a_generation_config_of_the_model_does_not_change_the_samples(run_folder):
    run_evaluate(run_folder)
    path = run_folder / "results/evaluate/samples.json"
    before = path.read_bytes()
    for model in ("base", "consolidated"):
        own = run_folder / "models" / model / "generation_config.json"
        sampled = {"do_sample": True, "temperature": 5.0, "top_k": 1, "num_beams": 3}
        write_json(own, {**read_json(own), **sampled, "repetition_penalty": 9.0})
    run_evaluate(run_folder)
    assert path.read_bytes() == before


def test_two_models_are_never_in_memory_at_once(run_folder, monkeypatch):
    loaded = []
    load_model = retune.evaluate.load_model

    def load_and_look_around(*arguments):
        assert all(model() is None for model in loaded), "the first is still there"
        language_model = load_model(*arguments)
        loaded.append(weakref.ref(language_model.model))
        return language_model

    monkeypatch.setattr("retune.evaluate.load_model", load_and_look_around)
    run_evaluate(run_folder)
    assert len(loaded) == 2


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
    path = run_folder / f"data/tokens/{split}.documents.bin"
    np.fromfile(path, "<i8")[:-1].tofile(path)
    with pytest.raises(RetuneError, match=rf"{split}.tokens.bin has . documents, and"):
        run_evaluate(run_folder)


def test_another_tokenizer_in_the_tuned_folder_is_refused(run_folder):
    path = run_folder / "models/consolidated/tokenizer.json"
    content = read_json(path)
    vocab = content["model"]["vocab"]
    vocab["a"], vocab["t"] = vocab["t"], vocab["a"]
    write_json(path, content)
    with pytest.raises(RetuneError, match=r"other tokens of .* than .*consolidated"):
        run_evaluate(run_folder)


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
    settings = SETTINGS.model_copy(update={"prompts": ["<|endoftext|>"]})
    run_evaluate(run_folder, settings.model_copy(update={"max_new_tokens": 1}))
    metrics = read_json(run_folder / "metrics/evaluation.json")
    assert metrics["protocol"]["split_special_tokens"] is are_text
    special = AutoTokenizer.from_pretrained(base)(
        spelled, split_special_tokens=are_text
    )["input_ids"]
    assert metrics["test"]["tuned"]["tokens"] == len(special)


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


def test_a_prompt_that_leaves_no_room_is_refused(run_folder):
    settings = SETTINGS.model_copy(update={"max_new_tokens": 40})
    with pytest.raises(
        RetuneError, match=r"evaluate.prompts: 'Return the' .* holds 16"
    ):
        run_evaluate(run_folder, settings)


def test_prompts_are_by_default_beginnings_of_test_documents_that_fit(run_folder):
    run_evaluate(run_folder, SETTINGS.model_copy(update={"prompts": "auto"}))
    samples = read_json(run_folder / "results/evaluate/samples.json")["samples"]
    prompts = [sample["prompt"] for sample in samples]
    assert len(prompts) == len(TEST_TEXTS)
    for prompt in prompts:
        text = next(text for text in TEST_TEXTS if text.startswith(prompt))
        assert text[len(prompt)].isspace()
    # The model's context is 16, of which 6 are to be written and 1 is the prefix.
    tokenizer = AutoTokenizer.from_pretrained(run_folder / "models/base")
    assert all(1 <= len(tokenizer(prompt)["input_ids"]) <= 9 for prompt in prompts)


def test_without_prompts_there_are_no_samples(run_folder):
    run_evaluate(run_folder, SETTINGS.model_copy(update={"prompts": []}))
    samples = read_json(run_folder / "results/evaluate/samples.json")
    assert samples["samples"] == []


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
    sums = summarize(table)
    expected = math.exp(sums["nll"] / sums["words"])
    assert sums["word_perplexity"] == pytest.approx(expected)
