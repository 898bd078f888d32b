"""Finds the facts of a base model that later steps need; Transformers has most."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from transformers import PreTrainedConfig, PreTrainedModel

from retune.artifacts.model_facts import ModelFacts, OutputHead
from retune.artifacts.publishing import read_json
from retune.compat.transformers_causal_lm import scale_and_softcap
from retune.errors import RetuneError
from retune.models.base_chat_template import prepare_chat_template
from retune.models.packing_check import varlen_is_exact
from retune.models.skeleton import build_skeleton
from retune.models.stored_tensors import StoredTensor, list_stored_tensors
from retune.models.weight_matching import match_weights
from retune.tokens.base_tokenizer import prepare_tokenizer


def find_model_facts(
    folder: Path, split_special_tokens: bool = True, chat_template: str = "auto"
) -> ModelFacts:
    """Return the facts of the model in a Hugging Face folder.

    Configs leave out what is a family's default (GPT-2's end-of-text token, its
    context), and transformers alone knows those.

    Args:
        folder: Folder of the model; its tokenizer's files are put in order there, and
            tokens are added that the chat template needs and the model lacks.
        split_special_tokens: Whether special tokens spelled out in a text are text.
        chat_template: The setting `model.chat_template`.

    Raises:
        RetuneError: If there is no usable tokenizer, no token that ends a text, no
            such chat template, or no way to add the tokens that it needs.
    """
    model = build_skeleton(folder)
    bos, eos = prepare_tokenizer(folder, model.config.get_text_config())
    chat_variables, added_tokens = prepare_chat_template(folder, chat_template)
    if added_tokens:
        model = build_skeleton(folder)
    config = model.config.get_text_config()
    tensors = list_stored_tensors(folder)
    matched = match_weights(model, tensors)
    return ModelFacts(
        model_type=model.config.model_type,
        architecture=type(model).__name__,
        num_parameters=sum(p.numel() for p in model.parameters()),
        num_layers=config.num_hidden_layers,
        vocab_size=config.vocab_size,
        context_length=getattr(config, "max_position_embeddings", None),
        batch_invariant_length=batch_invariant_length(config),
        dtype=dtype_of_most(
            [tensors[name] for group in matched.groups for name in group.stored]
        ),
        bos_token_id=bos,
        eos_token_id=eos,
        end_token_ids=end_token_ids(folder, eos, config),
        split_special_tokens=split_special_tokens,
        chat_variables=chat_variables,
        added_tokens=added_tokens,
        output_head=output_head_of(model),
        has_varlen=varlen_is_exact(model.config),
        caps_attention=getattr(config, "attn_logit_softcapping", None) is not None,
        activation=activation_of(config),
        weights=matched.groups,
        ignored=matched.ignored,
    )


def output_head_of(model: PreTrainedModel) -> OutputHead | None:
    """Return what a model does with the products of its output head, if known."""
    found = scale_and_softcap(model)
    return found and OutputHead(scale=found[0], softcap=found[1])


def activation_of(config: PreTrainedConfig) -> str | None:
    """Return the name of a model's activation function, if the config has one name."""
    keys = ("hidden_act", "hidden_activation", "activation_function")
    names = {getattr(config, key, None) for key in keys} - {None}
    return names.pop() if len(names) == 1 else None


def batch_invariant_length(config: PreTrainedConfig) -> int | None:
    """Return up to which length packed documents do not change each other's logits.

    The rotary frequencies of LongRoPE change for a whole micro-batch when its longest
    sequence exceeds `original_max_position_embeddings`. Llama 4 scales the queries of
    layers without rotary embeddings by the place in the block, from `floor_scale` on.

    Returns:
        Number of tokens; None: any.
    """
    parameters = getattr(config, "rope_parameters", None) or {}
    nested = [value for value in parameters.values() if isinstance(value, dict)]
    lengths = [
        kind["original_max_position_embeddings"]
        for kind in nested or [parameters]
        if kind.get("rope_type") == "longrope"
    ]
    if getattr(config, "attn_temperature_tuning", False):
        lengths.append(int(config.floor_scale) - 1)
    return min(lengths, default=None)


def dtype_of_most(tensors: Iterable[StoredTensor]) -> str:
    """Return the dtype that most bytes of the stored weights have."""
    sizes: Counter[str] = Counter()
    for tensor in tensors:
        sizes[tensor.dtype] += tensor.num_bytes
    return sizes.most_common(1)[0][0]


def end_token_ids(folder: Path, eos: int, config: PreTrainedConfig) -> tuple[int, ...]:
    """Return every token that ends a text or a turn.

    Chat models name several: that of a turn's end stands in generation_config.json.

    Raises:
        RetuneError: If that file is damaged.
    """
    named = config.eos_token_id
    of_config = set(named if isinstance(named, list) else [named]) - {None}
    return tuple(sorted({eos, *of_config, *named_in_generation_config(folder)}))


def named_in_generation_config(folder: Path) -> list[int]:
    """Return the ids that eos_token_id of generation_config.json names, if any."""
    path = folder / "generation_config.json"
    if not path.exists():
        return []
    try:
        named = read_json(path).get("eos_token_id")
    except (ValueError, AttributeError) as error:
        raise RetuneError(f"model: its {path.name} is damaged: {error}") from error
    ids = named if isinstance(named, list) else [named]
    if not all(one is None or isinstance(one, int) for one in ids):
        raise RetuneError(
            f"model: eos_token_id in its {path.name} is {named!r}; it should be the"
            " number of a token, or a list of such"
        )
    return [one for one in ids if one is not None]
