"""A dozen families of causal language models, each with a few random weights."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import transformers
from tokenizers import ByteLevelBPETokenizer
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from retune.models.weight_names import named_weights
from retune.settings import ModelSettings, TokenizeSettings
from retune.tokens.blocks import IGNORE_INDEX, Batch
from tiny_texts import make_texts

if TYPE_CHECKING:
    from tiny_run import TinyRun

COMMON = {
    "vocab_size": 300,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "pad_token_id": None,
    # Large: every weight must show in the loss.
    "initializer_range": 0.3,
    "attention_dropout": 0.0,
}
GROUPED = {**COMMON, "num_key_value_heads": 2}
EXPERTS = {**GROUPED, "moe_intermediate_size": 24, "num_experts_per_tok": 2}
TIED = {"tie_word_embeddings": True}
# Shorter than a document: what is outside the window shows.
WINDOW = {"sliding_window": 16}

# Name -> start of the class's name in Transformers, values of its config.
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": (
        "GPT2",
        {
            **{"vocab_size": 300, "n_embd": 32, "n_layer": 2, "n_head": 4},
            **{"n_positions": 64, "bos_token_id": 0, "eos_token_id": 0},
            **{"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0},
            "initializer_range": 0.3,
        },
    ),
    "gpt_neox": ("GPTNeoX", {**COMMON, "hidden_dropout": 0.0}),
    "llama": ("Llama", GROUPED),
    "llama, tied": ("Llama", {**GROUPED, **TIED}),
    "mistral": ("Mistral", {**GROUPED, **WINDOW}),
    "qwen2": ("Qwen2", GROUPED),
    "qwen3": ("Qwen3", {**GROUPED, "head_dim": 8}),
    "gemma2": ("Gemma2", {**GROUPED, **WINDOW, "head_dim": 8}),
    "gemma3": ("Gemma3", {**GROUPED, **WINDOW, "head_dim": 8}),
    "phi3": ("Phi3", GROUPED),
    "mixtral": ("Mixtral", {**GROUPED, "num_local_experts": 4}),
    "qwen3_moe": ("Qwen3Moe", {**EXPERTS, "head_dim": 8, "num_experts": 4}),
    "deepseek_v3": (
        "DeepseekV3",
        {
            **{**EXPERTS, "num_key_value_heads": 4},
            **{"n_routed_experts": 4, "n_shared_experts": 1, "n_group": 2},
            **{"topk_group": 1, "first_k_dense_replace": 1},
            **{"q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 8},
            **{"qk_nope_head_dim": 8, "v_head_dim": 8},
        },
    ),
}
# Their configurations have other class names.
CLASSES = {
    "Gemma3": ("Gemma3TextConfig", "Gemma3ForCausalLM"),
    "GPT2": ("GPT2Config", "GPT2LMHeadModel"),
}
# Whatever its files say, Transformers 5 gives a model of this family this tokenizer.
TOKENIZERS = {"qwen2": transformers.Qwen2Tokenizer}
# What Transformers 5 no longer writes into config.json, and the hub's files have.
ON_THE_HUB = {"qwen3_moe": {"num_experts": 4}}


def build_family(
    name: str, folder: Path, dtype: torch.dtype = torch.float32, **changed: Any
) -> Path:
    """Write a model of a family, as the hub's are stored, and a byte-level BPE.

    Args:
        name: Of FAMILIES.
        folder: Where to.
        dtype: Of the weights.
        changed: Values of the config.
    """
    kind, values = FAMILIES[name]
    config_class, model_class = CLASSES.get(
        kind, (f"{kind}Config", f"{kind}ForCausalLM")
    )
    config = getattr(transformers, config_class)(**{**values, **changed})
    torch.manual_seed(0)
    model = getattr(transformers, model_class)(config)
    with torch.no_grad():
        for _, weight in named_weights(model):
            # Norms and biases begin as ones and zeros, which hide what is lost. Buffers
            # are what a router adds to its scores: with scores below zero, releases
            # of Transformers choose different experts.
            is_buffer = not isinstance(weight, torch.nn.Parameter)
            noise = torch.rand_like if is_buffer else torch.randn_like
            weight += 0.05 * noise(weight)
    model.to(dtype).save_pretrained(folder)
    path = folder / "config.json"
    written = json.loads(path.read_text()) | ON_THE_HUB.get(name, {})
    path.write_text(json.dumps(written, indent=2))
    write_tokenizer(folder, TOKENIZERS.get(name))
    return folder


def write_tokenizer(
    folder: Path, kind: type[PreTrainedTokenizerFast] | None = None
) -> None:
    """Write a byte-level BPE of 300 tokens, split into words as a class does it."""
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(make_texts(50), 300, special_tokens=["<|end|>"])
    marks = {"bos_token": "<|end|>", "eos_token": "<|end|>"}
    if kind:
        model = json.loads(bpe._tokenizer.to_str())["model"]
        merges = [tuple(pair) for pair in model["merges"]]
        tokenizer = kind(vocab=model["vocab"], merges=merges, **marks)
    else:
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe._tokenizer, **marks)
    tokenizer.save_pretrained(folder)


def make_run(
    name: str,
    folder: Path,
    dtype: torch.dtype,
    held_out: int = 20,
    **changed: Any,
) -> "TinyRun":
    """Return a run of a family's model: base and tokens are made, whole documents.

    Args:
        name: Of FAMILIES.
        folder: Where to.
        dtype: Of the weights.
        held_out: Number of texts for the validation, and for the test.
        changed: Values of the config that differ from the family's.
    """
    # These read tables, which a GPU machine may lack the libraries for.
    from retune.steps import fetch, tokenize
    from tiny_run import TinyRun, make_clean

    source = build_family(name, folder / "source", dtype, **changed)
    settings = ModelSettings(source="local", folder=str(source))
    fetch.run(settings, folder / "base")
    make_clean(folder / "clean", train=60, held_out=held_out)
    tokenize.run(
        TokenizeSettings(sequence_length=64),
        *(folder / "clean", folder / "base", folder / "tokens", folder / "tokens.json"),
    )
    return TinyRun(folder)


@torch.inference_mode()
def reference_loss(
    model: PreTrainedModel, batches: Iterable[Batch], dtype: torch.dtype
) -> float:
    """Return the mean loss per predicted token, nats, each document by itself.

    Args:
        model: As `from_pretrained` of Transformers returns it.
        batches: Packed; documents begin where position_ids do.
        dtype: Of the computation.
    """
    model = model.to(dtype).eval()
    total = torch.zeros(2, dtype=torch.float64)
    for batch in batches:
        for ids, positions, labels in zip(*vars(batch).values(), strict=True):
            starts = np.flatnonzero(positions == 0)[1:]
            for piece, targets in zip(
                np.split(ids, starts), np.split(labels, starts), strict=True
            ):
                logits = model(torch.from_numpy(piece)[None]).logits[0].float()
                wanted = torch.from_numpy(targets)
                total[0] += cross_entropy(logits, wanted, reduction="sum")
                total[1] += (wanted != IGNORE_INDEX).sum()
    return (total[0] / total[1]).item()
