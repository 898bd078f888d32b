"""What we use of Transformers' private names does what it did."""

import json

import pytest
import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    PreTrainedTokenizerFast,
)

from compat_contract import contract
from retune.compat.transformers_attention import attention_kernels, is_flash_attention
from retune.compat.transformers_causal_lm import (
    last_hidden_states,
    replace_forward,
    scale_and_softcap,
)
from retune.compat.transformers_chat_templates import CompiledTemplate
from retune.compat.transformers_decoder import decoder_of
from retune.compat.transformers_empty_model import without_initial_weights
from retune.compat.transformers_ignored_tensors import is_ignored
from retune.compat.transformers_layers import (
    layers_of,
    replace_within_checkpointing,
)
from retune.compat.transformers_masks import MASKS, packed_masks
from retune.compat.transformers_stateful import carries_state
from retune.compat.transformers_tokenizer_config import (
    NEW_PLAIN_CLASS,
    PLAIN_CLASS,
    readable_by_both,
)
from tiny_tokenizers import byte_level

LLAMA = {
    **{"vocab_size": 60, "hidden_size": 32, "intermediate_size": 48},
    **{"num_hidden_layers": 2, "num_attention_heads": 4},
}
GPT2 = {"vocab_size": 60, "n_embd": 32, "n_layer": 2, "n_head": 4}
MAMBA = {"vocab_size": 60, "hidden_size": 32, "num_hidden_layers": 1}
FAMILIES = {
    "gpt2": GPT2,
    **dict.fromkeys(("llama", "mistral", "qwen2", "qwen3"), LLAMA),
}


def build(kind, values, **options):
    config = AutoConfig.for_model(kind, **values)
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config, **options)


@pytest.mark.parametrize("kernels", ["eager", "sdpa"])
def test_the_kernels_of_a_model_are_known(kernels):
    with contract("transformers_attention"):
        model = build("llama", LLAMA, attn_implementation=kernels)
        assert attention_kernels(model.config) == kernels
        assert not is_flash_attention(model.config)


def test_flash_attention_is_known_from_the_others():
    with contract("transformers_attention"):
        config = LlamaConfig(attn_implementation="flash_attention_2")
        assert is_flash_attention(config)


@pytest.mark.parametrize(
    ("kind", "values", "expected"),
    [
        ("gpt2", {}, (1, None)),
        ("llama", {}, (1, None)),
        ("gemma2", {"final_logit_softcapping": 30.0}, (1, 30)),
        ("cohere", {"logit_scale": 0.0625}, (0.0625, None)),
        ("granite", {"logits_scaling": 16.0}, (0.0625, None)),
    ],
)
def test_what_is_done_to_the_products_of_the_head_is_found(kind, values, expected):
    with contract("transformers_causal_lm"):
        model = build(kind, (GPT2 if kind == "gpt2" else LLAMA) | values)
        modules = dict(model.named_modules())
        assert scale_and_softcap(model) == expected
        assert dict(model.named_modules()) == modules


def test_a_head_that_is_no_linear_layer_is_not_known():
    with contract("transformers_causal_lm"):
        model = build("llama", LLAMA)
        model.lm_head = torch.nn.Sequential(model.lm_head)
        assert scale_and_softcap(model) is None


def test_the_last_hidden_states_are_what_the_head_is_given():
    with contract("transformers_causal_lm"):
        model = AutoModelForCausalLM.from_config(LlamaConfig(**LLAMA))
        inputs = {"input_ids": torch.arange(8).view(1, 8), "use_cache": False}
        hidden = last_hidden_states(model, inputs)
        assert torch.equal(model.lm_head(hidden), model(**inputs).logits)
        replace_forward(model, lambda **_: "replaced")
        assert model(**inputs) == "replaced"


def test_a_layer_computes_something_else_within_checkpointing():
    with contract("transformers_layers"):
        model = AutoModelForCausalLM.from_config(LlamaConfig(**LLAMA))
        model.activation_checkpointing_enable({"use_reentrant": False})
        layers = layers_of(model)
        assert layers == list(model.model.layers)
        calls = []

        def counted(forward):
            return lambda *a, **k: calls.append(1) or forward(*a, **k)

        for layer in layers:
            replace_within_checkpointing(layer, counted)
        logits = model(input_ids=torch.arange(8).view(1, 8), use_cache=False).logits
        assert len(calls) == len(layers)
        logits.sum().backward()
        assert len(calls) == 2 * len(layers)


def test_a_model_is_built_without_random_numbers():
    with contract("transformers_empty_model"):
        torch.manual_seed(0)
        before = torch.get_rng_state()
        with without_initial_weights():
            AutoModelForCausalLM.from_config(LlamaConfig(**LLAMA))
        assert torch.equal(torch.get_rng_state(), before)


def test_masks_and_rotary_frequencies_are_ignored_and_weights_are_not():
    with contract("transformers_ignored_tensors"):
        gpt2, llama = build("gpt2", GPT2), build("llama", LLAMA)
        assert is_ignored(gpt2, "transformer.h.0.attn.bias")
        assert not is_ignored(gpt2, "transformer.h.0.mlp.c_fc.weight")
        assert is_ignored(llama, "model.layers.0.self_attn.rotary_emb.inv_freq")
        assert not is_ignored(llama, "model.layers.0.self_attn.q_proj.weight")


def test_a_recurrent_family_is_known():
    with contract("transformers_stateful"):
        assert carries_state(build("mamba", MAMBA))
        assert not carries_state(build("llama", LLAMA))


@pytest.mark.parametrize("kind", FAMILIES)
def test_the_modules_of_a_decoder_compute_what_the_model_does(kind):
    with contract("transformers_decoder"):
        model = build(kind, FAMILIES[kind])
        decoder = decoder_of(model)
        named = [decoder.norm, decoder.positions, *decoder.layers]
        mine = sum(p.numel() for m in named if m is not None for p in m.parameters())
        ends = {model.get_input_embeddings().weight, model.lm_head.weight}
        rest = sum(weight.numel() for weight in ends)
        assert len(decoder.layers) == model.config.num_hidden_layers
        assert mine + rest == sum(p.numel() for p in model.parameters())
        assert (decoder.rotary is None) == (kind == "gpt2")


def test_masks_keep_packed_documents_apart():
    with contract("transformers_masks"):
        values = {**LLAMA, "sliding_window": 2}
        config = AutoConfig.for_model("mistral", **values, attn_implementation="sdpa")
        positions = torch.tensor([[0, 1, 2, 0, 1, 2, 3]])
        masks = packed_masks(MASKS, config, torch.zeros(1, 7, 32), positions)
        full, sliding = (
            masks[f"{kind}_attention"][0, 0] for kind in ("full", "sliding")
        )
        document = torch.tensor([0, 0, 0, 1, 1, 1, 1])
        causal = torch.ones(7, 7, dtype=torch.bool).tril()
        apart = causal & (document[:, None] == document)
        assert torch.equal(full, apart)
        assert torch.equal(sliding, apart & causal.triu(-1))


@pytest.fixture
def folder(tmp_path):
    byte_level().save(str(tmp_path / "tokenizer.json"))
    return tmp_path


def test_the_plain_class_reads_tokenizer_json_as_it_is(folder):
    config = {"tokenizer_class": PLAIN_CLASS, "eos_token": "</s>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    text = "A word,  and one\nword more 123."
    with contract("transformers_tokenizer_config"):
        encoded = AutoTokenizer.from_pretrained(folder)(text)["input_ids"]
        assert encoded == byte_level().encode(text).ids


def test_what_transformers_writes_is_made_readable_by_both(folder):
    with contract("transformers_tokenizer_config"):
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=byte_level())
        tokenizer.add_special_tokens({"additional_special_tokens": ["<unk>"]})
        tokenizer.save_pretrained(folder / "saved")
        written = json.loads((folder / "saved/tokenizer_config.json").read_text())
        assert written["tokenizer_class"] in (PLAIN_CLASS, NEW_PLAIN_CLASS)
        content = json.loads((folder / "saved/tokenizer.json").read_text())
        values = readable_by_both(written, content)
        assert values["tokenizer_class"] == PLAIN_CLASS
        assert values["additional_special_tokens"] == ["<unk>"]
        assert "extra_special_tokens" not in values


def test_a_chat_template_renders_as_apply_chat_template_does(tmp_path):
    text = (
        "{{ strftime_now('%Y') }}{% for m in messages %}[{{ m.role }}]"
        "{% if m.role == 'assistant' %}{% generation %}{{ m.reasoning_content }}"
        "{{ m.content }}{% endgeneration %}{% else %}{{ m.content | tojson }}"
        "{% endif %}{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}"
    )
    messages = [
        {"role": "user", "content": "Hi <b>"},
        {"role": "assistant", "content": "Yes.", "reasoning": "Hm. "},
    ]
    byte_level().save(str(tmp_path / "tokenizer.json"))
    auto = PreTrainedTokenizerFast(tokenizer_file=str(tmp_path / "tokenizer.json"))
    auto.chat_template = text
    with contract("transformers_chat_templates"):
        template = CompiledTemplate(text, lambda pattern: "1984")
        rendered = template.render(messages, None, True, {})
        marked, spans = template.render_with_marks(messages, None, {})
        assert rendered == '1984[user]"Hi <b>"[assistant]Hm. Yes.[assistant]'
        assert [marked[start:end] for start, end in spans] == ["Hm. Yes."]
        assert rendered == auto.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True
        )
