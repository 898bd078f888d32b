"""The modules that a decoder-only model of Transformers is made of."""

from dataclasses import dataclass

from torch import nn
from transformers import PreTrainedModel


@dataclass(frozen=True)
class Decoder:
    """What stands between a model's token embedding and its output head.

    Attributes:
        layers: The decoder layers, in their order.
        norm: The normalisation after the last of them.
        positions: The learned position embedding; None with rotary embeddings.
        dropout: The dropout after the position embedding; None with rotary embeddings.
        rotary: The module that computes rotary embeddings; None without.
    """

    layers: list[nn.Module]
    norm: nn.Module
    positions: nn.Module | None
    dropout: nn.Module | None
    rotary: nn.Module | None


def decoder_of(model: PreTrainedModel) -> Decoder:
    """Return the modules of a GPT-2, or of a model that is built as Llama is.

    Uses the attributes `h`, `ln_f`, `wpe` and `drop` of GPT-2, and `layers`, `norm` and
    `rotary_emb` of the others. Without them, a family cannot be trained with
    `configure.pipeline_stages` above 1.
    """
    modules = dict(model.base_model.named_children())
    if model.config.model_type == "gpt2":
        return Decoder(
            layers=list(modules["h"].children()),
            norm=modules["ln_f"],
            positions=modules["wpe"],
            dropout=modules["drop"],
            rotary=None,
        )
    return Decoder(
        layers=list(modules["layers"].children()),
        norm=modules["norm"],
        positions=None,
        dropout=None,
        rotary=modules.get("rotary_emb"),
    )
