"""The facts of a model that its config.json alone tells: enough to plan a training."""

import copy
from pathlib import Path

from retune.artifacts.model_facts import ModelFacts
from retune.models.find_model_facts import activation_of, output_head_of
from retune.models.packing_check import keep_few_heads, varlen_is_exact
from retune.models.skeleton import build_skeleton

# Of a tokenizer that nobody has looked at.
UNKNOWN_TOKEN = 0


def find_shape_facts(folder: Path) -> ModelFacts:
    """Return the facts of a model whose folder has a config.json, and maybe no more.

    What weights and tokenizer tell is left empty: such facts are for planning alone.

    Args:
        folder: Folder in the Hugging Face layout.

    Raises:
        Exception: Whatever Transformers raises if it can make no model of the folder.
    """
    model = build_skeleton(folder)
    config = model.config.get_text_config()
    # With few heads it is looked at in a moment, however large the model is.
    narrow = copy.deepcopy(model.config)
    keep_few_heads(narrow.get_text_config())
    return ModelFacts(
        model_type=model.config.model_type,
        architecture=type(model).__name__,
        num_parameters=sum(p.numel() for p in model.parameters()),
        num_layers=config.num_hidden_layers,
        vocab_size=config.vocab_size,
        context_length=getattr(config, "max_position_embeddings", None),
        batch_invariant_length=None,
        dtype=str(model.dtype).removeprefix("torch."),
        bos_token_id=UNKNOWN_TOKEN,
        eos_token_id=UNKNOWN_TOKEN,
        end_token_ids=(UNKNOWN_TOKEN,),
        weights=(),
        output_head=output_head_of(model),
        has_varlen=varlen_is_exact(narrow),
        caps_attention=getattr(config, "attn_logit_softcapping", None) is not None,
        activation=activation_of(config),
    )
