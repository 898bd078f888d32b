"""A causal language model of transformers as the layers of a DeepSpeed pipeline."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from deepspeed.pipe import LayerSpec, PipelineModule, TiedLayerSpec
from deepspeed.runtime.utils import partition_balanced
from torch import nn
from torch.nn.functional import linear
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.masking_utils import (
    create_causal_mask,
    create_sliding_window_causal_mask,
)

FAMILIES = ("gpt2", "llama", "mistral", "qwen2", "qwen3")

MASKS = {
    "full_attention": create_causal_mask,
    "sliding_attention": create_sliding_window_causal_mask,
}


class Layer(NamedTuple):
    """One layer of the pipeline.

    Attributes:
        module: On the meta device, or how to make it there.
        prefix: What precedes the names of its weights in transformers.
        mask: Which of MASKS it attends through; None if it is no decoder layer.
    """

    module: nn.Module | LayerSpec
    prefix: str
    mask: str | None = None


class StagedModel(PipelineModule):
    """One rank's stage of a model: transformers' own modules, called in their order.

    Stages pass on (hidden states [micro, seq, hidden], position_ids int64
    [micro, seq]); the first takes (input_ids, position_ids), the last returns the
    logits [micro, seq, vocabulary].

    Attributes:
        config: The model's configuration.
        pipeline: The layers of all stages.
    """

    def __init__(
        self,
        skeleton: PreTrainedModel,
        read: Callable[[str], torch.Tensor],
        num_stages: int,
        loss_fn: Callable[..., torch.Tensor],
    ) -> None:
        """Cut a model and read the weights of this rank's stage.

        Args:
            skeleton: The whole model on the meta device.
            read: Returns the weight of that name in transformers.
            num_stages: At most the number of decoder layers.
            loss_fn: Takes the logits and what the data iterator yields beside the
                inputs; returns a scalar.
        """
        # First, for DeepSpeed's constructor calls the two methods below.
        self.config = skeleton.config
        self.pipeline = cut(skeleton)
        self._read = read
        rotary = getattr(skeleton.base_model, "rotary_emb", None)
        self._make_rotary = rotary and partial(type(rotary), self.config)
        layers = [layer.module for layer in self.pipeline]
        super().__init__(layers=layers, num_stages=num_stages, loss_fn=loss_fn)

    def _partition_layers(self, method: str) -> None:
        """Balance the parameters, with at least one decoder layer to a stage.

        DeepSpeed's own balance may leave a stage an embedding and nothing else: one
        parameter group where other stages have two. The ranks would then wait for each
        other for ever in the gradient norm's all-reduce, which goes group by group.
        """
        sizes = self._count_layer_params()
        decoders = [i for i, layer in enumerate(self.pipeline) if layer.mask]
        first, stop = decoders[0], decoders[-1] + 1
        weights = sizes[first:stop]
        weights[0] += sum(sizes[:first])
        weights[-1] += sum(sizes[stop:])
        cuts = partition_balanced(weights, self.num_stages)
        self.parts = [0, *(first + int(place) for place in cuts[1:-1]), len(sizes)]
        self._set_bounds(*self.parts[self.stage_id : self.stage_id + 2])

    def _build(self) -> None:
        """Take this stage's layers off the meta device; the others stay there."""
        super()._build()
        weights = {name: self._read(full) for name, full in weight_names(self).items()}
        self.load_state_dict(weights, assign=True)
        # Computed, not stored: the skeleton's has no values.
        self.rotary = self._make_rotary and self._make_rotary()

    def forward(self, inputs: tuple[torch.Tensor, torch.Tensor]) -> Any:
        """Run this stage's layers."""
        hidden, position_ids = inputs
        masks: dict[str, Any] = {}
        for index, layer in enumerate(self.forward_funcs, self._local_start):
            kind = self.pipeline[index].mask
            if kind:
                if not masks:
                    masks, options = self._shared(hidden, position_ids)
                hidden = layer(hidden, attention_mask=masks[kind], **options)
            elif isinstance(layer, LearnedPositions):
                hidden = layer(hidden, position_ids)
            else:
                hidden = layer(hidden)
        is_last = self._local_stop == len(self.pipeline)
        return hidden if is_last else (hidden, position_ids)

    def _shared(
        self, hidden: torch.Tensor, position_ids: torch.Tensor
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the masks by kind, and what else all decoder layers take."""
        mine = self.pipeline[self._local_start : self._local_stop]
        # No attention mask and no cache: only then does transformers read document
        # boundaries off position_ids.
        masks = {
            kind: MASKS[kind](
                config=self.config,
                inputs_embeds=hidden,
                attention_mask=None,
                past_key_values=None,
                position_ids=position_ids,
            )
            for kind in {layer.mask for layer in mine if layer.mask}
        }
        options: dict[str, Any] = {"position_ids": position_ids}
        if self.rotary:
            options["position_embeddings"] = self.rotary(hidden, position_ids)
        return masks, options


class LearnedPositions(nn.Module):
    """What GPT-2 does between its token embedding and its first block."""

    def __init__(self, wpe: nn.Embedding, drop: nn.Dropout) -> None:
        """Share the modules of the model."""
        super().__init__()
        self.wpe = wpe
        self.drop = drop

    def forward(self, hidden: torch.Tensor, position_ids: torch.Tensor) -> torch.Tensor:
        """Return float [micro, seq, hidden]."""
        return self.drop(hidden + self.wpe(position_ids))


def cut(model: PreTrainedModel) -> list[Layer]:
    """Return the layers of a model of one of the FAMILIES, in their order."""
    backbone, config = model.base_model, model.config
    names = {module: name for name, module in model.named_modules()}
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    if config.model_type == "gpt2":
        decoders, norm = backbone.h, backbone.ln_f
        middle = [Layer(LearnedPositions(backbone.wpe, backbone.drop), names[backbone])]
    else:
        decoders, norm, middle = backbone.layers, backbone.norm, []
    for decoder, kind in zip(decoders, mask_kinds(config), strict=True):
        middle.append(Layer(decoder, names[decoder], kind))
    middle.append(Layer(norm, names[norm]))
    if not config.tie_word_embeddings:
        ends = [Layer(embedding, names[embedding]), Layer(head, names[head])]
    else:
        # Nothing but the matrix is tied: DeepSpeed leaves all parameters of the last
        # stage's copy out of the gradient norm.
        tied = partial(
            TiedLayerSpec,
            "embedding",
            nn.Embedding,
            embedding.num_embeddings,
            embedding.embedding_dim,
            embedding.padding_idx,
            device="meta",
        )
        ends = [
            Layer(spec, names[embedding]) for spec in (tied(), tied(forward_fn=project))
        ]
    return [ends[0], *middle, ends[1]]


def project(embedding: nn.Embedding, hidden: torch.Tensor) -> torch.Tensor:
    """Return the logits of a model whose head is its embedding."""
    return linear(hidden, embedding.weight)


def mask_kinds(config: PreTrainedConfig) -> list[str]:
    """Return for each decoder layer which of MASKS the family gives it."""
    if config.model_type in ("qwen2", "qwen3"):
        return config.layer_types
    slides = config.model_type == "mistral" and config.sliding_window is not None
    kind = "sliding_attention" if slides else "full_attention"
    return [kind] * config.num_hidden_layers


def weight_names(model: StagedModel) -> dict[str, str]:
    """Return this stage's parameters: name in the module -> name in transformers.

    The last stage's copy of a tied embedding has the embedding's name.
    """
    names = {}
    for name, _ in model.named_parameters():
        owner, _, local = name.partition(".")
        if owner == "tied_modules":
            names[name] = f"{model.pipeline[0].prefix}.weight"
        else:
            names[name] = f"{model.pipeline[int(owner)].prefix}.{local}"
    return names


def layer_files(model: StagedModel) -> dict[str, dict[str, str]]:
    """Return the checkpoint files of this stage's layers: {name in it -> full name}.

    The head of a model with tied embeddings has none: DeepSpeed saves the matrix with
    the first layer.
    """
    files = {}
    for place, layer in enumerate(model.forward_funcs):
        if isinstance(layer, nn.Module):
            prefix = model.pipeline[model._local_start + place].prefix
            file = Path(model.ckpt_layer_path("", place)).name
            files[file] = {local: f"{prefix}.{local}" for local in layer.state_dict()}
    return files
