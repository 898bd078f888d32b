"""Which activations of a model are computed again in the backward pass, not kept."""

from typing import Any

from transformers import PreTrainedModel

from retune.artifacts.plan import Plan
from retune.compat.pytorch_selective_checkpoints import (
    selective_contexts,
    selective_contexts_with_shards,
)
from retune.errors import RetuneError


def checkpoint_activations(model: PreTrainedModel, plan: Plan) -> None:
    """Let a model compute activations again in the backward pass, as a plan says.

    Args:
        model: The model, which may be on the meta device.
        plan: The plan of the training.

    Raises:
        RetuneError: If a model of this kind cannot do that.
    """
    if not plan.activation_checkpointing:
        return
    kind = model.config.model_type
    if not model.supports_gradient_checkpointing:
        written = (
            "selective" if plan.activation_checkpointing == "selective" else "true"
        )
        raise RetuneError(
            f"configure.activation_checkpointing: {written}, but {kind} models of"
            " Transformers cannot compute activations again; write false"
        )
    options: dict[str, Any] = {"use_reentrant": False}
    if plan.activation_checkpointing == "selective":
        is_sharded = plan.zero_stage == 3
        options["context_fn"] = (
            selective_contexts_with_shards if is_sharded else selective_contexts
        )
    model.activation_checkpointing_enable(
        options, every_n_layers=plan.activation_checkpointing_interval
    )
