"""A base model gets the special tokens of a chat template that it lacks."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PhiConfig,
    PhiForCausalLM,
)

from evaluation_case import say, write_example_splits
from model_families import build_family, write_tokenizer
from retune.artifacts.model_facts import ModelFacts
from retune.artifacts.publishing import read_json, write_json, write_manifest
from retune.errors import RetuneError
from retune.examples.example import Conversation
from retune.models.added_rows import add_rows
from retune.models.find_model_facts import find_model_facts
from retune.models.tensor_hashes import tensor_sha256
from retune.settings import ConsolidateSettings, ModelSettings, TokenizeSettings
from retune.sources.weight_file_formats import INDEX
from retune.steps import consolidate, fetch, tokenize
from tiny_run import TinyRun, make_texts
from training_ranks import Job, train_all

# Tokens of the tokenizers here.
KNOWN = 291
START, END = "<|im_start|>", "<|im_end|>"
TALK = [
    {"role": "user", "content": "red or blue"},
    {"role": "assistant", "content": "blue"},
]
EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
OF_GPT2 = "transformer.wte.weight"

# Family, rows of its vocabulary, dtype, largest shard, tensors with a row per token.
MODELS = [
    ("gpt2", 291, torch.float32, "1GB", {OF_GPT2}),
    ("gpt2", 300, torch.bfloat16, "1GB", {OF_GPT2}),
    ("llama", 291, torch.bfloat16, "20KB", {EMBEDDING, HEAD}),
    ("llama", 292, torch.float32, "1GB", {EMBEDDING, HEAD}),
    ("llama", 300, torch.float16, "20KB", {EMBEDDING, HEAD}),
    ("llama, tied", 291, torch.float32, "40KB", {EMBEDDING}),
]


def build(folder, family, rows, dtype=torch.float32, shard="1GB", **changed):
    """Write a model; its weights may be in several files."""
    build_family(family, folder, dtype, vocab_size=rows, **changed)
    if shard != "1GB":
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
        (folder / "model.safetensors").unlink()
        model.save_pretrained(folder, max_shard_size=shard)
        assert (folder / INDEX).exists()
    return folder


def fetched(source, target, template="chatml"):
    settings = ModelSettings(source="local", folder=str(source), chat_template=template)
    return fetch.run(settings, target)


def tensors_of(folder):
    files = folder.glob("*.safetensors")
    return {name: each for path in files for name, each in load_file(path).items()}


def mean_of(rows):
    return rows[:KNOWN].double().mean(0).to(rows.dtype)


@pytest.mark.parametrize(("family", "rows", "dtype", "shard", "grown"), MODELS)
def test_new_tokens_have_the_mean_of_all_rows_and_all_else_is_as_it_was(
    tmp_path, family, rows, dtype, shard, grown
):
    source, base = build(tmp_path / "mine", family, rows, dtype, shard), tmp_path / "b"
    line = fetched(source, base)
    assert line.endswith("; 2 tokens added for chatml")

    size = max(rows, KNOWN + 2)
    before, after = tensors_of(source), tensors_of(base)
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        expected = tensor
        if name in grown:
            mean = mean_of(tensor)
            spare = tensor[KNOWN + 2 :]
            expected = torch.cat([tensor[:KNOWN], mean[None], mean[None], spare])
            assert len(expected) == size
        assert torch.equal(after[name], expected)
        assert after[name].dtype == dtype
    assert read_json(base / "config.json")["vocab_size"] == size
    if (base / INDEX).exists():
        index = read_json(base / INDEX)
        total = sum(tensor.nbytes for tensor in after.values())
        assert index["metadata"]["total_size"] == total
        count = sum(tensor.numel() for tensor in after.values())
        assert index["metadata"]["total_parameters"] == count
        held = {index["weight_map"][name] for name in grown}
        for path in source.glob("*.safetensors"):
            is_same = (base / path.name).read_bytes() == path.read_bytes()
            assert is_same == (path.name not in held)

    facts = ModelFacts.read(base)
    assert facts.added_tokens == (KNOWN, KNOWN + 1)
    assert facts.vocab_size == size
    model, info = AutoModelForCausalLM.from_pretrained(base, output_loading_info=True)
    assert not any(info.values())
    assert facts.num_parameters == model.num_parameters()
    assert model.generation_config.eos_token_id == [0, KNOWN + 1]
    assert facts.end_token_ids == (0, KNOWN + 1)


def test_a_head_that_is_stored_beside_the_embedding_stays_equal_to_it(tmp_path):
    source = build(tmp_path / "mine", "llama, tied", 291)
    tensors = load_file(source / "model.safetensors")
    twice = {**tensors, HEAD: tensors[EMBEDDING].clone()}
    save_file(twice, source / "model.safetensors", {"format": "pt"})
    fetched(source, tmp_path / "base")
    after = tensors_of(tmp_path / "base")
    assert len(after[HEAD]) == KNOWN + 2
    assert torch.equal(after[HEAD], after[EMBEDDING])


def test_a_head_with_a_bias_gets_the_mean_of_that_too(tmp_path):
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 8, "num_hidden_layers": 1}
    ids = {"bos_token_id": 0, "eos_token_id": 0, "num_attention_heads": 2}
    model = PhiForCausalLM(PhiConfig(vocab_size=KNOWN, **sizes, **ids))
    torch.nn.init.normal_(model.lm_head.bias)
    bias = model.lm_head.bias.detach().clone()
    model.save_pretrained(tmp_path)
    write_tokenizer(tmp_path)
    facts = find_model_facts(tmp_path, chat_template="llama3")
    assert facts.added_tokens == (KNOWN, KNOWN + 1, KNOWN + 2, KNOWN + 3)
    after = tensors_of(tmp_path)
    mean = bias.double().mean().float().expand(4)
    assert torch.equal(after["lm_head.bias"], torch.cat([bias, mean]))
    assert len(after[HEAD]) == len(after[EMBEDDING]) == KNOWN + 4


def test_transformers_makes_one_special_token_of_each(tmp_path):
    base = tmp_path / "base"
    fetched(build(tmp_path / "mine", "llama", 291), base)
    tokenizer = AutoTokenizer.from_pretrained(base)
    assert tokenizer.encode(f"red{START}{END}") == [
        *tokenizer.encode("red"),
        KNOWN,
        KNOWN + 1,
    ]
    assert {KNOWN, KNOWN + 1} <= set(tokenizer.all_special_ids)
    ids = tokenizer.apply_chat_template(TALK, return_dict=False)
    assert [ids.count(token) for token in (KNOWN, KNOWN + 1)] == [2, 2]
    assert "im_" not in tokenizer.decode(ids, skip_special_tokens=True)


def test_older_files_of_a_tokenizer_name_the_new_tokens_too(tmp_path):
    source = build(tmp_path / "mine", "llama", 291)
    config = read_json(source / "tokenizer_config.json")
    flags = dict.fromkeys(("lstrip", "normalized", "rstrip", "single_word"), False)
    end = {"content": "<|end|>", "special": True, **flags}
    config |= {"added_tokens_decoder": {"0": end}}
    write_json(source / "tokenizer_config.json", config)
    listed = {"eos_token": "<|end|>", "additional_special_tokens": ["<|end|>"]}
    write_json(source / "special_tokens_map.json", listed)
    fetched(source, tmp_path / "base")
    config = read_json(tmp_path / "base/tokenizer_config.json")
    assert config["additional_special_tokens"] == ["<|end|>", START, END]
    assert config["added_tokens_decoder"] == {
        "0": end,
        "291": {**end, "content": START},
        "292": {**end, "content": END},
    }
    listed = read_json(tmp_path / "base/special_tokens_map.json")
    assert listed["additional_special_tokens"] == ["<|end|>", START, END]


@pytest.mark.parametrize("template", ["chatml", "auto"])
def test_a_model_that_has_the_tokens_stays_as_it_is(tmp_path, template):
    first, second = tmp_path / "first", tmp_path / "second"
    fetched(build(tmp_path / "mine", "gpt2", 291), first)
    line = fetched(first, second, template)
    assert " added for " not in line
    assert ModelFacts.read(second).added_tokens == ()
    for path in first.iterdir():
        if path.name not in ("manifest.json", "model_facts.json"):
            assert (second / path.name).read_bytes() == path.read_bytes()


@pytest.mark.parametrize("template", ["alpaca", "mistral"])
def test_a_template_of_text_and_of_bos_and_eos_needs_no_tokens(tmp_path, template):
    source = build(tmp_path / "mine", "gpt2", 291)
    assert " added for " not in fetched(source, tmp_path / "base", template)
    assert tensors_of(tmp_path / "base")[OF_GPT2].shape[0] == 291


def test_a_word_of_the_vocabulary_becomes_special_and_keeps_its_row(tmp_path):
    source = build(tmp_path / "mine", "gpt2", 300)
    content = read_json(source / "tokenizer.json")
    content["model"]["vocab"] |= {START: KNOWN, END: KNOWN + 1}
    write_json(source / "tokenizer.json", content)
    assert " added for " not in fetched(source, tmp_path / "base")
    before, after = tensors_of(source), tensors_of(tmp_path / "base")
    assert torch.equal(after[OF_GPT2], before[OF_GPT2])
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "base")
    assert tokenizer.encode(START) == [KNOWN]


def test_what_looks_like_a_token_and_is_none_is_told(tmp_path):
    template = tmp_path / "mine.jinja"
    text = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|turn|>{% endfor %}"
    template.write_text(text)
    source = build(tmp_path / "source", "gpt2", 300)
    with pytest.raises(
        RetuneError,
        match=r"mine.jinja writes <\|assistant\|>, <\|turn\|>, <\|user\|>, of which"
        r" .*\{#- tokens: <\|assistant\|> <\|turn\|> <\|user\|> -#\}, to keep",
    ):
        fetched(source, tmp_path / "base", str(template))
    template.write_text("{#- tokens: -#}\n" + text)
    assert " added for " not in fetched(source, tmp_path / "base", str(template))


def test_generation_goes_on_to_stop_where_config_json_says(tmp_path):
    source = build(tmp_path / "source", "gpt2", 300)
    (source / "generation_config.json").unlink()
    fetched(source, tmp_path / "base")
    stops = read_json(tmp_path / "base/generation_config.json")["eos_token_id"]
    assert len(stops) == 2
    assert stops[0] == read_json(source / "config.json")["eos_token_id"]


def test_a_file_names_the_tokens_that_it_needs(tmp_path):
    template = tmp_path / "mine.jinja"
    template.write_text("{#- tokens: <|turn|> -#}\n{{ messages[0].content }}<|turn|>")
    source = build(tmp_path / "mine", "gpt2", 291)
    line = fetched(source, tmp_path / "base", str(template))
    assert line.endswith(f"; 1 token added for {template}")


def with_embedding_per_layer(folder):
    config = read_json(folder / "config.json")
    write_json(folder / "config.json", {**config, "vocab_size_per_layer_input": 291})


def with_gap_in_ids(folder):
    """Have as many tokens as before, the last one with the next free id."""
    path = folder / "tokenizer.json"
    content = read_json(path)
    vocab = content["model"]["vocab"]
    gone = next(token for token, number in vocab.items() if number == 200)
    del vocab[gone]
    vocab["a b c"] = KNOWN
    merges = content["model"]["merges"]
    content["model"]["merges"] = [pair for pair in merges if fits(pair, vocab)]
    path.write_text(json.dumps(content))


def fits(pair, vocab):
    first, second = pair
    return {first, second, first + second} <= vocab.keys()


@pytest.mark.parametrize("change", [with_embedding_per_layer, with_gap_in_ids])
def test_a_model_that_cannot_get_tokens_is_refused(tmp_path, change):
    source = build(tmp_path / "mine", "llama", 300)
    change(source)
    with pytest.raises(
        RetuneError,
        match=r"^model.chat_template: chatml writes <\|im_start\|>, <\|im_end\|>, which"
        r" the model's tokenizer lacks, .* write alpaca, which needs no tokens, or",
    ):
        fetched(source, tmp_path / "base")
    assert not (tmp_path / "base").exists()


def test_rows_of_tokens_that_no_weight_has_are_no_known_ones(tmp_path):
    source = build(tmp_path / "mine", "llama", 100)
    before = tensors_of(source)[HEAD]
    assert add_rows(source, range(102), [102])
    after = tensors_of(source)[HEAD]
    mean = before.double().mean(0).float()
    assert torch.equal(after, torch.cat([before, mean.expand(3, -1)]))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Conversations, and a model that got tokens for them."""
    folder = tmp_path_factory.mktemp("added")
    fetched(build(folder / "mine", "llama", 291), folder / "base")
    talks = [
        Conversation((say("user", text[:30]), say("assistant", text[:20])))
        for text in make_texts(60)
    ]
    splits = {"train": talks, "validation": talks[:8], "test": talks[:8]}
    write_example_splits(folder / "clean", **splits)
    write_manifest(folder / "clean")
    tokenize.run(
        TokenizeSettings(sequence_length=64),
        *(folder / "clean", folder / "base", folder / "tokens", folder / "tokens.json"),
    )
    return TinyRun(folder)


def test_the_new_tokens_are_learnt_and_published_with_every_strategy(run):
    strategies = {
        "zero1": {"zero_stage": 1},
        "zero3": {"zero_stage": 3},
        "pipeline": {"pipeline_stages": 2},
    }
    jobs = {
        name: Job(
            run.plan(f"plan-{name}", 2, global_batch_size=4, **values),
            run.folder / f"state-{name}",
            {"max_steps": 2, "learning_rate": 1e-2},
        )
        for name, values in strategies.items()
    }
    train_all(run.folder, list(jobs.values()), 2)
    base = tensors_of(run.folder / "base")
    for name, job in jobs.items():
        assert job.losses == pytest.approx(jobs["zero1"].losses, abs=2e-5)
        tuned = run.folder / f"tuned-{name}"
        consolidate.run(
            ConsolidateSettings(), run.folder / "base", job.checkpoint, tuned
        )
        weights = load_file(tuned / "model.safetensors")
        for key, tensor in weights.items():
            assert tensor_sha256(tensor) == job.weights[key]["sha256"]
        for key in (EMBEDDING, HEAD):
            assert weights[key].shape == base[key].shape == (KNOWN + 2, 32)
            assert not torch.equal(weights[key][KNOWN:], base[key][KNOWN:])
        model, info = AutoModelForCausalLM.from_pretrained(
            tuned, output_loading_info=True
        )
        assert not any(info.values())
        tokenizer = AutoTokenizer.from_pretrained(tuned)
        assert len(tokenizer) == model.config.vocab_size == KNOWN + 2
        ids = tokenizer.apply_chat_template(TALK, return_dict=False)
        assert [ids.count(token) for token in (KNOWN, KNOWN + 1)] == [2, 2]


def test_adapters_are_refused_since_they_would_not_learn_the_tokens(run):
    plan = run.plan("plan-adapters", 2, zero_stage=2)
    with pytest.raises(
        RetuneError, match=r"^finetune.lora: .* the 2 tokens that fetch added for"
    ):
        run.finetune(plan, "adapters", max_steps=1, lora={"r": 4})
    assert not run.state_of("adapters").exists()
