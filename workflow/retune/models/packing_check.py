"""Whether a model computes packed documents as it computes each by itself.

Some families ignore the mask that follows from position_ids, and some are no causal
models at all. Both depend on the code of the family and not on its weights.
"""

import copy
import logging
import math
from collections.abc import Callable

import torch
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel

from retune.models.packed_inputs import packed_inputs
from retune.models.varlen_attention import VARLEN, register_varlen

log = logging.getLogger("retune")

# A larger difference, relative to the largest logit, is no rounding error.
LEAK = {torch.float32: 1e-4, torch.bfloat16: 1e-2, torch.float16: 1e-2}
# Families whose small model has more parameters are checked by `finetune` alone.
MOST_PARAMETERS = 5e8
FEW_LAYERS = 2
FEW_GROUPS = 2
FEW_WORDS = 64
# Names of a feed-forward layer's width in configs. The layer can be made narrow for the
# check, because it mixes no tokens.
WIDTHS = ("intermediate_size", "moe_intermediate_size", "ffn_dim", "n_inner")
NARROW = 64
# Names in configs of the number of tokens that a token sees.
WINDOWS = ("sliding_window", "attention_chunk_size", "index_topk", "index_block_size")
SHORT_WINDOW = 3
# Standard deviation of the weights with which caps of the scores show.
STRONG_WEIGHTS = 1.0

# Takes input_ids and position_ids, int64 [sequences, length]; returns the logits,
# [sequences, length, vocabulary].
LogitsOf = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@torch.no_grad()
def sees_other_documents(logits_of: LogitsOf) -> bool:
    """Return whether a packed document changes with the one before it.

    Two sequences that differ only in their first document must give the second the
    same logits.
    """
    second = torch.arange(10, 18)
    sequences = [torch.cat([first, second]) for first in (second - 8, second + 8)]
    positions = torch.arange(8).repeat(2, 2)
    return differ(logits_of(torch.stack(sequences), positions)[:, 8:])


@torch.no_grad()
def sees_what_follows(logits_of: LogitsOf) -> bool:
    """Return whether a token changes with the one after it."""
    tokens = torch.arange(10, 18)
    other = torch.cat([tokens[:-1], tokens[-1:] + 8])
    positions = torch.arange(8).repeat(2, 1)
    return differ(logits_of(torch.stack([tokens, other]), positions)[:, :-1])


def differ(logits: torch.Tensor) -> bool:
    """Return whether the logits of two sequences differ, [2, length, vocabulary]."""
    difference = (logits[0] - logits[1]).abs().max()
    return bool(difference > LEAK[logits.dtype] * logits.abs().max())


def problems_of_packing(config: PreTrainedConfig) -> list[str]:
    """Return what is wrong with a family, found on a small model of random weights.

    Returns:
        Words that go on after the model's name; none if nothing is wrong, if the family
        cannot be made small, or if the small model cannot compute the check.
    """
    try:
        model = build_small(config)
    except Exception as error:
        log.info("packing is not looked at yet: %s", error)
        return []
    if model is None:
        return []

    def logits_of(input_ids: torch.Tensor, position_ids: torch.Tensor) -> torch.Tensor:
        # No attention mask and no cache: only then does transformers read document
        # boundaries off position_ids.
        return model(
            input_ids=input_ids, position_ids=position_ids, use_cache=False
        ).logits

    kind = f"is a {config.model_type} model"
    try:
        if sees_what_follows(logits_of):
            return [
                f"{kind}, which is not causal: a token sees those that follow it;"
                " choose a model that writes text"
            ]
        if sees_other_documents(logits_of):
            return [
                f"{kind}: in transformers these let packed documents see each other;"
                " choose a model of another family"
            ]
    except Exception as error:
        log.info("packing is not looked at yet: %s", error)
    return []


@torch.no_grad()
def varlen_is_exact(config: PreTrainedConfig) -> bool:
    """Return whether `varlen` attention computes a family as its own attention does.

    Looked at on a small model of random weights, in which a window of attention is
    shorter than a document, because a family may tell its layers about the window only
    by the mask that `varlen` does without.

    Returns:
        False also if the family cannot be made small, or if the small model cannot
        compute the check.
    """
    narrow = copy.deepcopy(config)
    text = narrow.get_text_config()
    for name in WINDOWS:
        if isinstance(getattr(text, name, None), int):
            setattr(text, name, SHORT_WINDOW)
    if hasattr(text, "initializer_range"):
        text.initializer_range = STRONG_WEIGHTS
    register_varlen()
    try:
        logits = [small_logits(narrow, kernels) for kernels in ("eager", VARLEN)]
    except Exception as error:
        log.info("varlen attention cannot be used: %s", error)
        return False
    return not differ(torch.stack(logits))


def small_logits(config: PreTrainedConfig, kernels: str) -> torch.Tensor:
    """Return the logits of packed documents under a small model, [tokens, vocabulary].

    Raises:
        Exception: Whatever Transformers raises if that cannot be computed.
    """
    config._attn_implementation = kernels
    model = build_small(config)
    if model is None:
        raise ValueError("the family cannot be made small")
    tokens = torch.arange(10, 34).view(2, 12)
    positions = torch.cat([torch.arange(7), torch.arange(5)]).expand(2, -1)
    inputs = packed_inputs(model.config, tokens, positions, torch.device("cpu"))
    logits: torch.Tensor = model(**inputs).logits
    return logits.flatten(0, 1)


def build_small(config: PreTrainedConfig) -> PreTrainedModel | None:
    """Return a model of few layers and words, fp32; None if it still is large.

    It has fewer heads only if it would be large with all of them.
    """
    small = config_of_few(config)
    if num_parameters(small) > MOST_PARAMETERS:
        keep_few_heads(small.get_text_config())
        if num_parameters(small) > MOST_PARAMETERS:
            return None
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(
            small, dtype=torch.float32, trust_remote_code=False
        )
    return model.eval()


def num_parameters(config: PreTrainedConfig) -> int:
    """Return the number of parameters of a configuration's model."""
    with torch.device("meta"):
        skeleton = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    return sum(weight.numel() for weight in skeleton.parameters())


def keep_few_heads(text: PreTrainedConfig) -> None:
    """Leave a configuration heads of the same size, of which as many share keys.

    The hidden size follows, as far as it is that of all heads together.
    """
    if (heads := getattr(text, "num_attention_heads", None)) is None:
        return
    groups = getattr(text, "num_key_value_heads", None) or heads
    size = getattr(text, "head_dim", None) or text.hidden_size // heads
    fewer = math.gcd(heads, groups) // FEW_GROUPS
    if fewer < 1 or text.hidden_size != heads * size:
        return
    text.num_attention_heads = heads // fewer
    if groups != heads or hasattr(text, "num_key_value_heads"):
        text.num_key_value_heads = groups // fewer
    text.hidden_size = heads // fewer * size


def config_of_few(config: PreTrainedConfig) -> PreTrainedConfig:
    """Return a configuration of few layers and words."""
    small = copy.deepcopy(config)
    text = small.get_text_config()
    text.vocab_size = min(text.vocab_size, FEW_WORDS)
    for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
        setattr(text, name, 0)
    for width in WIDTHS:
        if isinstance(value := getattr(text, width, None), int):
            setattr(text, width, min(value, NARROW))
    kinds = getattr(text, "layer_types", None)
    layers = FEW_LAYERS
    if kinds:
        # As many layers as it takes to have one of each kind.
        layers = max(layers, *(kinds.index(kind) + 1 for kind in set(kinds)))
        text.layer_types = kinds[:layers]
    if text.num_hidden_layers > layers:
        text.num_hidden_layers = layers
    return small
