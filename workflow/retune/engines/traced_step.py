"""A forward and a backward pass on tensors without values, part by part."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel

from retune.compat.pytorch_live_storages import LiveStorages
from retune.compat.transformers_layers import layers_of
from retune.engines.loss import token_loss_sum, trained_labels
from retune.models.packed_inputs import packed_inputs
from retune.planning.work import Work

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Part:
    """What was seen of a part of a pass, bytes beside the weights.

    Attributes:
        before: In use as the part began.
        peak: Most in use.
        after: In use as it ended.
        gradients: Gradients of parameters that had been computed as it began.
        peak_with_gradients: Most in use if all of them had been kept.
        gradients_after: Those that had been computed as it ended.
        work: What it computed and moved.
    """

    before: int
    peak: int
    after: int
    gradients: int
    peak_with_gradients: int
    gradients_after: int
    work: Work = Work()

    def ended(self) -> "Part":
        """Return a part that begins and ends as this one ends."""
        live, gradients = self.after, self.gradients_after
        return Part(live, live, live, gradients, live + gradients, gradients)


class TracedStep:
    """A forward and a backward pass, part by part.

    Attributes:
        forward: The parts of the forward pass.
        backward: The parts of the backward pass.
        validation: The parts of a forward pass without gradients.
    """

    def __init__(
        self, model: nn.Module, base: PreTrainedModel, live: LiveStorages
    ) -> None:
        """Follow a model.

        Args:
            model: The model, with its adapters.
            base: The model without them.
            live: What counts their tensors.
        """
        self.model, self.base, self.live = model, base, live
        self.forward: list[Part] = []
        self.backward: list[Part] = []
        self.validation: list[Part] = []
        self._parts = self.forward
        self._weights = 0
        self._before = self._gradients = 0
        self._done = Work()

    def run(self, shape: tuple[int, int], chunked: bool) -> None:
        """Go through a micro-batch.

        Args:
            shape: Sequences, and their length.
            chunked: Whether the model computes the loss.
        """
        self._weights = self.live.bytes
        self.live.held = 0
        of_gradients = [
            parameter.register_post_accumulate_grad_hook(self._drop)
            for parameter in self.model.parameters()
            if parameter.requires_grad
        ]
        loss = self._forward(self.forward, shape, chunked)
        self._parts = self.backward
        self._begin()
        (loss * 1.0).backward()
        self._end()
        del loss
        for hook in of_gradients:
            hook.remove()
        with torch.no_grad():
            self._forward(self.validation, shape, chunked)

    def _forward(
        self, parts: list[Part], shape: tuple[int, int], chunked: bool
    ) -> torch.Tensor:
        """Go through a forward pass; return the loss.

        Args:
            parts: The list to which its parts are added.
            shape: Sequences, and their length.
            chunked: Whether the model computes the loss.
        """
        layers = layers_of(self.base)
        # They are gone when a backward pass computes activations again.
        hooks: list[Any] = [
            layer.register_forward_pre_hook(self._enter, with_kwargs=True)
            for layer in layers
        ]
        if layers:
            hooks.append(layers[-1].register_forward_hook(self._leave))
        self._parts = parts
        self._begin()
        loss = self._loss_sum(shape, chunked)
        self._end()
        for hook in hooks:
            hook.remove()
        return loss

    def _loss_sum(self, shape: tuple[int, int], chunked: bool) -> torch.Tensor:
        """Return the loss, as `DataParallel.loss_sum` computes it."""
        ids = np.zeros(shape, np.int64)
        positions = np.tile(np.arange(shape[1]), (shape[0], 1))
        inputs = packed_inputs(self.base.config, ids, positions, CPU)
        labels = torch.zeros(ids.size, dtype=torch.int64)
        for name in ("input_ids", "position_ids"):
            self.live.count(inputs[name])
        if not chunked:
            logits = self.model(**inputs).logits.flatten(0, 1)
            return token_loss_sum(logits, labels)
        places = torch.from_numpy(trained_labels(ids)[0])
        self.live.count(places)
        loss: torch.Tensor = self.model(**inputs, labels=labels, label_places=places)
        return loss

    def _drop(self, parameter: torch.Tensor) -> None:
        """Forget the gradient of a parameter, but know that there was one."""
        gradient = parameter.grad
        assert gradient is not None
        size = gradient.numel() * gradient.element_size()
        del gradient
        parameter.grad = None
        if not self.backward:
            self._next_part()
        self.live.hold(size)

    def _enter(self, _: nn.Module, arguments: Any, options: Any) -> None:
        self._next_part()
        hidden = arguments[0] if arguments else options["hidden_states"]
        self._at_gradient(hidden)

    def _leave(self, _: nn.Module, __: Any, output: Any) -> None:
        self._next_part()
        self._at_gradient(output if isinstance(output, torch.Tensor) else output[0])

    def _at_gradient(self, hidden: torch.Tensor) -> None:
        """Have a part of the backward pass begin with a gradient of hidden states."""
        if hidden.requires_grad:
            hidden.register_hook(lambda _: self._next_layer())

    def _next_layer(self) -> None:
        """Begin with the gradient of a layer in the backward pass."""
        if not self.backward:
            # No parameter of the head is trained.
            self._next_part()
        self._next_part()

    def _next_part(self) -> None:
        self._end()
        self._begin()

    def _begin(self) -> None:
        self.live.restart()
        self._before = self.live.bytes
        self._gradients = self.live.held
        self._done = self._work()

    def _work(self) -> Work:
        done = self.live.operations
        return Work(done.products, done.moved, done.operations)

    def _end(self) -> None:
        live = self.live
        self._parts.append(
            Part(
                self._before - self._weights,
                live.peak - self._weights,
                live.bytes - self._weights,
                self._gradients,
                live.peak_with_held - self._weights,
                live.held,
                self._work().plus(self._done, -1.0),
            )
        )
