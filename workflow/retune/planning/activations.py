"""What a forward and a backward pass take beside the weights, as it was traced."""

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from typing import Any

from retune.artifacts.memory_prediction import Source
from retune.artifacts.plan import Plan
from retune.planning.work import Work

# Bytes of a layer per token and hidden unit, in 16 bits and with fused attention:
# Korthikanti et al., 2022, https://arxiv.org/abs/2205.05198, section 4.1.
BYTES_PER_UNIT = 34
# Tokens whose logits are computed at once, at most, and bytes of each in fp32.
CHUNK_TOKENS = 2048


@dataclass(frozen=True)
class Moment:
    """The most that is in memory in one part of a pass, bytes, beside the weights.

    A part is what comes before the layers, a layer, or what comes after them.

    Attributes:
        activations: Tensors that are kept for the backward pass, as the part begins.
        logits: What there is more of at the peak, if the part is output head and loss.
        temporary: The same for any other part, if each gradient of a parameter is gone
            as soon as it is there.
        gradients: Gradients of parameters that have been computed as the part begins.
        temporary_and_gradients: In place of `temporary`, if the gradients of parameters
            are kept.
    """

    activations: float
    logits: float
    temporary: float
    gradients: float
    temporary_and_gradients: float

    @property
    def without_gradients(self) -> float:
        """Bytes in use if no gradient of a parameter is kept."""
        return self.activations + self.logits + self.temporary

    @property
    def with_gradients(self) -> float:
        """Bytes in use if all gradients of parameters are kept."""
        kept = self.activations + self.logits + self.gradients
        return kept + self.temporary_and_gradients

    def plus(self, other: "Moment", factor: float = 1.0) -> "Moment":
        """Return this moment plus a multiple of another, part by part."""
        return Moment(
            *(
                getattr(self, field.name) + factor * getattr(other, field.name)
                for field in fields(Moment)
            )
        )


NOTHING = Moment(0, 0, 0, 0, 0)


@dataclass(frozen=True)
class PassMemory:
    """What one micro-batch takes in training and in validation, beside the weights.

    Attributes:
        micro_batch_size: Sequences of the micro-batch.
        forward: The parts of the forward pass, in their order.
        backward: The parts of the backward pass, in their order.
        validation: The parts of a forward pass without gradients, in their order.
        work: What both passes compute and move.
    """

    micro_batch_size: int
    forward: tuple[Moment, ...]
    backward: tuple[Moment, ...]
    validation: tuple[Moment, ...]
    work: Work = Work()


@dataclass(frozen=True)
class Activations:
    """What micro-batches of any size take.

    Attributes:
        measured: Passes of one or two sizes of micro-batches, the smaller one first.
        source: Whether the model's own code was followed, or it is a formula.
        notes: What differs from what a rank will compute, a clause each.
    """

    measured: tuple[PassMemory, ...]
    source: Source = "traced"
    notes: tuple[str, ...] = ()

    def of(self, micro_batch_size: int) -> PassMemory:
        """Return what micro-batches of a size take.

        Exact for a size that was traced. Of others it is the straight line through two,
        which is exact where no chunk of the loss is larger than the micro-batch.
        """
        for each in self.measured:
            if each.micro_batch_size == micro_batch_size:
                return each
        first, last = self.measured[0], self.measured[-1]
        if first is last:
            return scaled(first, micro_batch_size)
        steps = last.micro_batch_size - first.micro_batch_size
        share = (micro_batch_size - first.micro_batch_size) / steps
        return PassMemory(
            micro_batch_size,
            between(first.forward, last.forward, share),
            between(first.backward, last.backward, share),
            between(first.validation, last.validation, share),
            first.work.plus(first.work, -share).plus(last.work, share),
        )


def scaled(measured: PassMemory, micro_batch_size: int) -> PassMemory:
    """Return a pass as if all of it grew with the micro-batch."""
    factor = micro_batch_size / measured.micro_batch_size

    def larger(moments: Iterable[Moment]) -> tuple[Moment, ...]:
        return tuple(NOTHING.plus(moment, factor) for moment in moments)

    return PassMemory(
        micro_batch_size,
        larger(measured.forward),
        larger(measured.backward),
        larger(measured.validation),
        # As many operations, each of which is larger.
        replace(
            Work().plus(measured.work, factor), operations=measured.work.operations
        ),
    )


def between(
    first: Iterable[Moment], last: Iterable[Moment], share: float
) -> tuple[Moment, ...]:
    """Return moments on the line through two passes, of which 0 is the first."""
    return tuple(
        one.plus(two, share).plus(one, -share)
        for one, two in zip(first, last, strict=True)
    )


def formula(plan: Plan, config: Any, vocab_size: int) -> Activations:
    """Return about what micro-batches take, of a model that could not be traced.

    Args:
        plan: The plan.
        config: Configuration of the model, in Transformers.
        vocab_size: Logits per token.
    """
    tokens = plan.sequence_length
    width = 4 if plan.precision == "fp32" else 2
    layer = tokens * config.hidden_size * BYTES_PER_UNIT * width / 2
    layers = config.num_hidden_layers * layer
    if plan.activation_checkpointing:
        share = 1 / plan.activation_checkpointing_interval
        inputs = tokens * config.hidden_size * width * config.num_hidden_layers
        layers = layers * (1 - share) + share * inputs + layer
    logits = tokens * vocab_size * (4 + 2 * width)
    if plan.chunked_cross_entropy:
        logits = min(tokens, CHUNK_TOKENS) * vocab_size * 2 * width
    head = Moment(layers, logits, 0, 0, 0)
    end = Moment(layers, 0, layer, 0, layer)
    validation = Moment(0, logits, 0, 0, 0)
    passes = PassMemory(1, (head,), (head, end), (validation,))
    family = config.model_type
    note = f"activations: by a formula, because {family} models could not be traced"
    return Activations((passes,), source="formula", notes=(note,))
