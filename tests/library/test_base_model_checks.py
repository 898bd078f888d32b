"""A base model that would be trained as another than it is: refused by `fetch`."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
)

from model_families import GROUPED, build_family, write_tokenizer
from retune.artifacts.model_facts import ModelFacts
from retune.errors import RetuneError
from retune.settings import ModelSettings
from retune.steps import fetch

TIED = {"tie_word_embeddings": True}


@pytest.fixture
def source(tmp_path):
    """Return a folder for the model that a user brings."""
    return tmp_path / "mine"


def bring(source: Path) -> ModelFacts:
    base = source.with_name("base")
    fetch.run(ModelSettings(source="local", folder=str(source)), base)
    return ModelFacts.read(base)


def edit_config(source: Path, **values) -> None:
    path = source / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def edit_weights(source: Path, change) -> None:
    """Change the tensors by name; what `change` returns is what the file then holds."""
    path = source / "model.safetensors"
    tensors = {name: tensor.clone() for name, tensor in load_file(path).items()}
    save_file(change(tensors), path, {"format": "pt"})


def setting(name, value):
    return lambda tensors: tensors | {name: value(tensors.get(name))}


def save_bare_backbone(source):
    build_family("llama", source)
    AutoModel.from_pretrained(source).save_pretrained(source)


def save_classifier(source):
    build_family("qwen3", source)
    AutoModelForSequenceClassification.from_pretrained(source).save_pretrained(source)


def lose_a_layer(source):
    build_family("mistral", source)
    edit_config(source, num_hidden_layers=3)


def have_a_layer_too_many(source):
    build_family("phi3", source)
    edit_config(source, num_hidden_layers=1)


def lose_an_expert(source):
    build_family("mixtral", source)
    lost = "model.layers.1.block_sparse_moe.experts.3.w1.weight"
    edit_weights(source, lambda tensors: tensors.pop(lost) is None or tensors)


def have_another_vocabulary(source):
    build_family("gemma2", source)
    edit_config(source, vocab_size=320)


def have_another_width(source):
    build_family("gpt_neox", source)
    edit_config(source, intermediate_size=64)


def have_a_nan(source):
    build_family("qwen2", source)
    place, nan = torch.tensor(3), torch.nan
    name = "model.norm.weight"
    edit_weights(source, setting(name, lambda old: old.index_fill(0, place, nan)))


def have_an_infinity_in_an_expert(source):
    build_family("qwen3_moe", source, dtype=torch.bfloat16)
    name = "model.layers.0.mlp.experts.2.up_proj.weight"
    edit_weights(source, setting(name, lambda old: torch.full_like(old, torch.inf)))


def have_a_head_beside_the_tied_one(source):
    build_family("llama, tied", source)
    edit_weights(source, setting("lm_head.weight", lambda _: torch.ones(300, 32)))


def have_float8_codes(source):
    build_family("llama", source)
    name = "model.layers.0.mlp.up_proj.weight"
    edit_weights(source, setting(name, lambda old: old.to(torch.float8_e4m3fn)))


def have_int8_codes(source):
    build_family("gpt2", source)
    name = "transformer.h.0.mlp.c_fc.weight"
    edit_weights(source, setting(name, lambda old: old.to(torch.int8)))


def say_that_it_is_quantised(source):
    build_family("llama", source)
    edit_config(source, quantization_config={"quant_method": "fp8"})


def carry_a_state(source):
    config = AutoConfig.for_model(
        "mamba", vocab_size=300, hidden_size=32, num_hidden_layers=2, eos_token_id=0
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(source)
    write_tokenizer(source)


def know_no_positions(source):
    config = AutoConfig.for_model(
        "bloom", vocab_size=300, hidden_size=32, n_layer=2, n_head=4, eos_token_id=0
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(source)
    write_tokenizer(source)


def ignore_positions(source):
    write_family(source, "opt", hidden_size=32, ffn_dim=48, word_embed_proj_dim=32)


def ignore_positions_a_little(source):
    write_family(source, "openai-gpt", n_embd=64, n_layer=2, n_head=4)


def see_what_follows(source):
    write_family(source, "bert", hidden_size=32, intermediate_size=48)


def write_family(source, kind, **values):
    heads = {"num_attention_heads": 4, "num_hidden_layers": 2} | values
    config = AutoConfig.for_model(kind, vocab_size=300, **heads)
    AutoModelForCausalLM.from_config(config).save_pretrained(source)
    write_tokenizer(source)


def have_an_impossible_config(source):
    build_family("llama", source)
    edit_config(source, num_attention_heads=0)


REFUSED = {
    save_bare_backbone: r"lacks 1 weight \(lm_head.weight\) of LlamaForCausalLM, which"
    r" would be random. The files are of LlamaModel",
    save_classifier: r"lacks 1 weight \(lm_head.weight\).*\n.* holds 1 tensor"
    r" \(score.weight\) that Qwen3ForCausalLM has no place for",
    lose_a_layer: r"lacks 9 weights \(model.layers.2.input_layernorm.weight, ",
    have_a_layer_too_many: r"holds 6 tensors \(model.layers.1.input_layernorm.weight, ",
    lose_an_expert: r"1 weight \(model.layers.1.mlp.experts.gate_up_proj \(7 tensors"
    r" such as model.layers.1.block_sparse_moe.experts.0.w1.weight do not make it\)\)",
    have_another_vocabulary: r"has 1 weight \(model.embed_tokens.weight \(\[300, 32\]"
    r" instead of \[320, 32\]\)\) of another shape than config.json says",
    have_another_width: r"has 6 weights .*of another shape",
    have_a_nan: r"has 1 weight \(model.norm.weight\) with NaN or infinity",
    have_an_infinity_in_an_expert: r"1 weight \(model.layers.0.mlp.experts.2.up_proj",
    have_a_head_beside_the_tied_one: "two different tensors for one weight,"
    r" model.embed_tokens.weight and lm_head.weight",
    have_float8_codes: r"holds 1 tensor \(model.layers.0.mlp.up_proj.weight"
    r" \(F8_E4M3\)\) that are no floating-point numbers: it is quantised",
    have_int8_codes: r"holds 1 tensor \(transformer.h.0.mlp.c_fc.weight \(int8\)\)",
    say_that_it_is_quantised: r"is quantised \(quantization_config in config.json: fp8",
    carry_a_state: "is a mamba model: these carry a state from one packed document",
    know_no_positions: "is a bloom model: these cannot be told where a packed document",
    ignore_positions: "is a opt model: in transformers these let packed documents see",
    ignore_positions_a_little: "is a openai-gpt model: in transformers these let",
    see_what_follows: "is a bert model, which is not causal: a token sees those that",
    have_an_impossible_config: r"makes no llama model of \(ZeroDivisionError\): ",
}


@pytest.mark.parametrize("make", REFUSED, ids=lambda make: make.__name__)
def test_a_model_that_would_be_trained_as_another_is_refused(source, make):
    make(source)
    with pytest.raises(RetuneError, match=REFUSED[make]) as caught:
        bring(source)
    assert str(caught.value).startswith(f"model.folder: {source} ")
    assert not source.with_name("base").exists()


def test_a_head_stored_beside_the_equal_embedding_is_one_weight(source):
    build_family("llama, tied", source)
    edit_weights(
        source,
        lambda tensors: (
            tensors | {"lm_head.weight": tensors["model.embed_tokens.weight"].clone()}
        ),
    )
    facts = bring(source)
    twins = [g.stored for g in facts.weights if "embed_tokens" in g.weights[0]]
    assert twins == [("model.embed_tokens.weight",), ("lm_head.weight",)]
    assert facts.num_parameters == 25_120


def test_stored_masks_are_no_parameters(source):
    build_family("gpt2", source)
    mask, far = torch.ones(1, 1, 64, 64).tril(), torch.tensor(-1e4)
    prefix = "transformer.h.0.attn"
    stored = {f"{prefix}.bias": mask, f"{prefix}.masked_bias": far}
    edit_weights(source, lambda tensors: tensors | stored)
    facts = bring(source)
    assert facts.num_parameters == 37_120
    assert facts.ignored == tuple(stored)


MASKS = {
    "gptj": ({"n_embd": 32, "n_layer": 1, "n_head": 4, "rotary_dim": 8}, "attn.bias"),
    "codegen": (
        {"n_embd": 32, "n_layer": 1, "n_head": 4, "rotary_dim": 8},
        "attn.causal_mask",
    ),
    "gpt_neo": (
        {
            **{"hidden_size": 32, "num_layers": 1, "num_heads": 4},
            "attention_types": [[["global"], 1]],
        },
        "attn.attention.bias",
    ),
}


@pytest.mark.parametrize("kind", MASKS)
def test_a_mask_that_an_older_version_stored_is_no_weight(source, kind):
    values, mask = MASKS[kind]
    marks = {"vocab_size": 300, "bos_token_id": 0, "eos_token_id": 0}
    config = AutoConfig.for_model(kind, **marks, **values)
    AutoModelForCausalLM.from_config(config).save_pretrained(source)
    write_tokenizer(source)
    name = f"transformer.h.0.{mask}"
    edit_weights(source, setting(name, lambda _: torch.ones(1, 1, 8, 8).tril()))
    assert bring(source).ignored == (name,)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", r"model: its generation_config.json is damaged"),
        ("[]", r"model: its generation_config.json is damaged"),
        ('{"eos_token_id": "</s>"}', r"eos_token_id in its .* is '</s>'; it should be"),
    ],
)
def test_a_damaged_generation_config_is_told(source, text, message):
    build_family("llama", source)
    (source / "generation_config.json").write_text(text)
    with pytest.raises(RetuneError, match=message):
        bring(source)


def test_llama_4_says_from_where_on_a_place_in_the_block_counts(source):
    config = AutoConfig.for_model(
        "llama4_text",
        **{
            **GROUPED,
            "head_dim": 8,
            "num_local_experts": 4,
            "intermediate_size_mlp": 48,
        },
        **{"floor_scale": 16, "attn_temperature_tuning": True},
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(source)
    write_tokenizer(source)
    assert bring(source).batch_invariant_length == 15


def test_a_model_says_what_it_is(source):
    build_family("phi3", source, dtype=torch.bfloat16)
    (source / "generation_config.json").write_text('{"eos_token_id": [0, 7, 5]}')
    facts = bring(source)
    assert facts.model_type == "phi3"
    assert facts.architecture == "Phi3ForCausalLM"
    assert (facts.num_layers, facts.dtype) == (2, "bfloat16")
    assert (facts.eos_token_id, facts.end_token_ids) == (0, (0, 5, 7))
    assert facts.batch_invariant_length is None


def test_longrope_says_up_to_which_length_its_documents_are_apart(source):
    rope = {
        "rope_type": "longrope",
        "rope_theta": 10_000.0,
        "factor": 2.0,
        "original_max_position_embeddings": 32,
        "long_factor": [2.0] * 4,
        "short_factor": [1.0] * 4,
    }
    build_family("llama", source, rope_parameters=rope)
    facts = bring(source)
    assert (facts.context_length, facts.batch_invariant_length) == (64, 32)
