"""A causal language model of Transformers as the layers of a DeepSpeed pipeline."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from deepspeed.pipe import LayerSpec, TiedLayerSpec
from torch import nn
from torch.nn.functional import linear
from transformers import PreTrainedConfig, PreTrainedModel

from retune.artifacts.model_facts import OutputHead
from retune.compat.deepspeed_pipeline_module import (
    TIED_MODULES,
    StageModule,
    balanced_bounds,
)
from retune.compat.transformers_attention import attention_kernels
from retune.compat.transformers_decoder import decoder_of
from retune.compat.transformers_masks import packed_masks
from retune.engines.chunked_loss import chunked_loss_sum
from retune.engines.loss import token_loss_sum
from retune.models.packed_documents import PackedDocuments
from retune.models.varlen_attention import VARLEN
from retune.tokens.blocks import IGNORE_INDEX

# Key of the embedding that is the output head as well.
TIED_EMBEDDING = "embedding"
# Model types that can be cut into stages.
FAMILIES = ("gpt2", "llama", "mistral", "qwen2", "qwen3")


@dataclass(frozen=True)
class Layer:
    """One layer of the pipeline.

    Attributes:
        module: The module on the meta device, or how to make it there.
        prefix: What precedes the names of its weights in Transformers.
        mask: Kind of its attention mask, as `layer_types` of a config has it; None if
            it is no decoder layer.
    """

    module: nn.Module | LayerSpec
    prefix: str
    mask: str | None = None


@dataclass(frozen=True)
class DecoderInputs:
    """What all decoder layers of a stage take beside the hidden states.

    Attributes:
        masks: Attention masks by their kind, in the form that the attention
            kernels of the model take.
        options: Other keyword arguments of a decoder layer's `forward`.
    """

    masks: dict[str, Any]
    options: dict[str, Any]


class StagedModel(StageModule):
    """One rank's stage of a model: Transformers' own modules, called in their order.

    Stages pass on hidden states, float [sequences, length, hidden], and position_ids,
    int64 [sequences, length]. The first stage takes input_ids and position_ids, the
    last one returns the last hidden states, of which `loss` makes logits.

    Attributes:
        config: The model's configuration.
        pipeline: The layers of all stages.
        packed_documents: The documents of the next micro-batch, for `varlen` attention,
            which refuses to do without.
    """

    def __init__(
        self,
        skeleton: PreTrainedModel,
        read: Callable[[str], torch.Tensor],
        num_stages: int,
        output_head: OutputHead | None,
    ) -> None:
        """Cut a model and read the weights of this rank's stage.

        Args:
            skeleton: The whole model on the meta device.
            read: Function that returns a weight by its name in Transformers.
            num_stages: Number of stages, at most that of decoder layers.
            output_head: What the model does with its head's products, to compute the
                loss some tokens at a time; None to compute it of all tokens at once.
        """
        # These are set first because DeepSpeed's constructor, called last, calls
        # `stage_bounds` and `fill_stage`.
        self.config = skeleton.config
        self.pipeline = cut(skeleton)
        self._read = read
        self._output_head = output_head
        self.packed_documents: PackedDocuments | None = None
        decoder = decoder_of(skeleton)
        self._rotary_class = None if decoder.rotary is None else type(decoder.rotary)
        layers = [layer.module for layer in self.pipeline]
        super().__init__(layers=layers, num_stages=num_stages, loss_fn=self.loss)

    def stage_bounds(self, sizes: list[int]) -> list[int]:
        """Balance the parameters, with at least one decoder layer to a stage.

        DeepSpeed's own balance may leave a stage an embedding and nothing else. That
        stage has one parameter group where other stages have two, and the ranks would
        wait for each other for ever in the gradient norm's all-reduce, which goes group
        by group.

        Args:
            sizes: Number of parameters of each layer of the pipeline.
        """
        decoders = [i for i, layer in enumerate(self.pipeline) if layer.mask]
        first, stop = decoders[0], decoders[-1] + 1
        weights = sizes[first:stop]
        weights[0] += sum(sizes[:first])
        weights[-1] += sum(sizes[stop:])
        cuts = balanced_bounds(weights, self.num_stages)
        return [0, *(first + place for place in cuts[1:-1]), len(sizes)]

    def fill_stage(self) -> None:
        """Read the weights of this stage's layers.

        The layers of other stages stay on the meta device.
        """
        weights = {name: self._read(full) for name, full in weight_names(self).items()}
        self.load_state_dict(weights, assign=True)
        # Rotary embeddings are computed and not stored, so those of the skeleton have
        # no values.
        self.rotary = self._rotary_class and self._rotary_class(self.config)

    def forward(
        self, inputs: tuple[torch.Tensor, torch.Tensor]
    ) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """Run this stage's layers.

        Args:
            inputs: Output of the stage before, or (input_ids, position_ids).

        Returns:
            Hidden states and position_ids, or on the last stage hidden states alone.
        """
        hidden, position_ids = inputs
        shared: DecoderInputs | None = None
        is_last = self.places.stop == len(self.pipeline)
        # The head is called by `loss`.
        layers = self.stage_layers[:-1] if is_last else self.stage_layers
        for index, layer in zip(self.places, layers, strict=False):
            mask = self.pipeline[index].mask
            if mask:
                shared = shared or self._decoder_inputs(hidden, position_ids)
                hidden = layer(
                    hidden, attention_mask=shared.masks[mask], **shared.options
                )
            elif isinstance(layer, LearnedPositions):
                hidden = layer(hidden, position_ids)
            else:
                hidden = layer(hidden)
        return hidden if is_last else (hidden, position_ids)

    def loss(
        self, hidden: torch.Tensor, target: tuple[torch.Tensor, torch.Tensor]
    ) -> torch.Tensor:
        """Return the sum of the losses of the trained tokens, times a scale.

        Args:
            hidden: Output of the last stage, float [sequences, length, hidden].
            target: Labels, int64 [sequences, length], and the scale, a scalar.
        """
        labels, scale = target[0].flatten(), target[1]
        rows = hidden.flatten(0, 1)
        head = self.stage_layers[-1]
        if self._output_head is None:
            return token_loss_sum(head(rows), labels) * scale
        if isinstance(head, nn.Linear):
            weight, bias = head.weight, head.bias
        else:
            weight, bias = self.tied_modules[TIED_EMBEDDING].weight, None
        trained = (labels != IGNORE_INDEX).nonzero().squeeze(1)
        rows, labels = (part.index_select(0, trained) for part in (rows, labels))
        total = chunked_loss_sum(rows, weight, bias, labels, self._output_head)
        return total * scale

    def _decoder_inputs(
        self, hidden: torch.Tensor, position_ids: torch.Tensor
    ) -> DecoderInputs:
        """Return what this stage's decoder layers take beside the hidden states."""
        layers = self.pipeline[self.places.start : self.places.stop]
        kinds = {layer.mask for layer in layers if layer.mask}
        masks = packed_masks(kinds, self.config, hidden, position_ids)
        options: dict[str, Any] = {"position_ids": position_ids}
        if attention_kernels(self.config) == VARLEN:
            # Each micro-batch brings its own: with those of the last one, documents
            # would see each other.
            options["packed_documents"] = self.packed_documents
            self.packed_documents = None
        if self.rotary:
            options["position_embeddings"] = self.rotary(hidden, position_ids)
        return DecoderInputs(masks, options)


class LearnedPositions(nn.Module):
    """The position embedding that GPT-2 adds before its first block."""

    def __init__(self, wpe: nn.Module, drop: nn.Module) -> None:
        """Use the modules of the model: position embedding and dropout."""
        super().__init__()
        self.wpe = wpe
        self.drop = drop

    def forward(self, hidden: torch.Tensor, position_ids: torch.Tensor) -> torch.Tensor:
        """Return hidden states with positions, float [sequences, length, hidden]."""
        return self.drop(hidden + self.wpe(position_ids))


def cut(model: PreTrainedModel) -> list[Layer]:
    """Return the layers of a model of one of the FAMILIES, in their order."""
    config = model.config
    names = {module: name for name, module in model.named_modules()}
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    decoder = decoder_of(model)
    middle = []
    if decoder.positions is not None and decoder.dropout is not None:
        positions = LearnedPositions(decoder.positions, decoder.dropout)
        middle.append(Layer(positions, names[model.base_model]))
    for layer, mask in zip(decoder.layers, masks_of_decoders(config), strict=True):
        middle.append(Layer(layer, names[layer], mask))
    middle.append(Layer(decoder.norm, names[decoder.norm]))
    if not config.tie_word_embeddings:
        ends = [Layer(embedding, names[embedding]), Layer(head, names[head])]
    else:
        # The tied layer holds nothing but the matrix, because DeepSpeed leaves all
        # parameters of the last stage's copy out of the gradient norm.
        tied = partial(
            TiedLayerSpec,
            TIED_EMBEDDING,
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


def masks_of_decoders(config: PreTrainedConfig) -> list[str]:
    """Return the kind of each decoder layer's attention mask."""
    if config.model_type in ("qwen2", "qwen3"):
        return config.layer_types
    slides = config.model_type == "mistral" and config.sliding_window is not None
    mask = "sliding_attention" if slides else "full_attention"
    return [mask] * config.num_hidden_layers


def weight_names(model: StagedModel) -> dict[str, str]:
    """Return this stage's parameters: name in the module -> name in Transformers.

    The last stage's copy of a tied embedding has the embedding's name.
    """
    names = {}
    for name, _ in model.named_parameters():
        owner, _, local = name.partition(".")
        if owner == TIED_MODULES:
            names[name] = f"{model.pipeline[0].prefix}.weight"
        else:
            names[name] = f"{model.pipeline[int(owner)].prefix}.{local}"
    return names


def layer_files(model: StagedModel) -> dict[str, dict[str, str]]:
    """Return the tensors in the checkpoint files of this stage's layers.

    The head of a model with tied embeddings has no file, because DeepSpeed saves the
    matrix with the first layer.

    Returns:
        File name -> name in the file -> name in Transformers.
    """
    files = {}
    for index, layer in enumerate(model.stage_layers):
        if isinstance(layer, nn.Module):
            prefix = model.pipeline[model.places[index]].prefix
            file = model.layer_file(index)
            files[file] = {local: f"{prefix}.{local}" for local in layer.state_dict()}
    return files
