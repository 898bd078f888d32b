"""Where the copies of a model are computed, and in which data type."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from retune.artifacts.model_facts import ModelFacts
from retune.errors import RetuneError
from retune.settings import Dtype
from retune.units import GB

log = logging.getLogger(__name__)

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
# Part of the GPUs' memory that the weights of a model may fill where more GPUs could
# share them, and where there are no more. What is left is for activations and logits.
FILLED, FILLED_AT_MOST = 0.8, 0.95


@dataclass(frozen=True)
class Placement:
    """Where one copy of a model is computed.

    Attributes:
        dtype: Data type of its weights, as PyTorch names it.
        gpus: Numbers of the GPUs, as PyTorch counts them, that have a part of its
            layers each; none: it is computed on the CPU.
    """

    dtype: str = "float32"
    gpus: tuple[int, ...] = ()

    @property
    def device(self) -> str:
        """Kind of device, as PyTorch names it."""
        return "cuda" if self.gpus else "cpu"

    def __str__(self) -> str:
        """Return it in words."""
        if not self.gpus:
            return "the CPU"
        numbers = ", ".join(map(str, self.gpus))
        return f"GPU{'s' if len(self.gpus) > 1 else ''} {numbers}"


def find_placements(
    dtype: Dtype, facts: ModelFacts, accelerator: str, ranks_per_node: str = "auto"
) -> list[Placement]:
    """Return where the copies of a model are computed that share the work.

    On CPUs it is one copy.

    Args:
        dtype: The setting `evaluate.dtype`.
        facts: Facts of the base model.
        accelerator: The setting `hardware.accelerator`.
        ranks_per_node: The setting `hardware.ranks_per_node`: how many of this
            machine's GPUs may be used; `auto`: all of them.

    Raises:
        RetuneError: If the accelerator is missing, or its memory is too small.
    """
    if find_device(accelerator) == "cpu":
        return [Placement(resolve_dtype(dtype, facts.dtype, "cpu"))]
    import torch

    has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    resolved = resolve_dtype(dtype, facts.dtype, "cuda", has_bf16)
    gpus = range(torch.cuda.device_count())
    memory = [torch.cuda.get_device_properties(gpu).total_memory for gpu in gpus]
    at_most = len(memory) if ranks_per_node == "auto" else int(ranks_per_node)
    groups = share_gpus(facts, BYTES[resolved], memory, at_most)
    return [Placement(resolved, group) for group in groups]


def log_placements(placements: Sequence[Placement]) -> None:
    """Write into the log where a model is computed."""
    copies = f"{len(placements)} copies" if len(placements) > 1 else "one copy"
    where = "; ".join(map(str, placements))
    log.info("%s of the model in %s: %s", copies, placements[0].dtype, where)


def find_device(accelerator: str) -> str:
    """Return PyTorch's name of the device that `hardware.accelerator` means here.

    Raises:
        RetuneError: If PyTorch sees no such device.
    """
    if accelerator == "cpu":
        return "cpu"
    import torch

    is_there = torch.cuda.is_available()
    if accelerator == "auto":
        return "cuda" if is_there else "cpu"
    if not is_there:
        raise RetuneError(
            "hardware.accelerator: cuda, but PyTorch sees no GPU on this machine; run"
            " this step where there is one, or write cpu or auto"
        )
    return accelerator


def resolve_dtype(
    wanted: Dtype, stored: str, device: str, has_bf16: bool = True
) -> str:
    """Return the data type in which models are evaluated, as PyTorch names it.

    `auto` is that of the base model's files on GPUs that compute it fast, else float32.

    Args:
        wanted: The setting `evaluate.dtype`.
        stored: Data type of the base model's files.
        device: `cpu` or `cuda`.
        has_bf16: Whether the GPU computes bf16 at full speed.
    """
    if wanted != "auto":
        return wanted
    fast = {"bfloat16", "float16"} if has_bf16 else {"float16"}
    return stored if device == "cuda" and stored in fast else "float32"


def share_gpus(
    facts: ModelFacts, width: int, memory: Sequence[int], at_most: int
) -> list[tuple[int, ...]]:
    """Return the GPUs of each copy of a model: as many copies as there is room for.

    The GPUs of a copy have consecutive numbers; some copies may have one more.

    Args:
        facts: Facts of the base model.
        width: Size of a weight, bytes.
        memory: Memory of each GPU, bytes.
        at_most: Number of GPUs that may be used.

    Raises:
        RetuneError: If these GPUs together are too small for one copy.
    """
    number = min(len(memory), at_most)
    smallest = min(memory[:number])
    model_bytes = width * facts.num_parameters

    def hold(size: int, filled: float) -> bool:
        # Each GPU has whole layers, and one has the output head.
        whole = width * (layer_size(facts) + head_size(facts)) if size > 1 else 0
        return (
            model_bytes <= filled * size * smallest
            and model_bytes / size + whole <= FILLED_AT_MOST * smallest
        )

    fitting = [size for size in range(1, number + 1) if hold(size, FILLED)]
    if not fitting and not hold(number, FILLED_AT_MOST):
        raise RetuneError(too_large(model_bytes, number, smallest, len(memory)))
    copies = number // fitting[0] if fitting else 1
    ends = [number * copy // copies for copy in range(copies + 1)]
    return [
        tuple(range(first, end)) for first, end in zip(ends, ends[1:], strict=False)
    ]


def layer_size(facts: ModelFacts) -> float:
    """Return the number of parameters of a decoder layer: no less, maybe a few more."""
    return facts.num_parameters / max(1, facts.num_layers)


def head_size(facts: ModelFacts) -> float:
    """Return about the number of parameters of the output head.

    A layer has about 12 h^2 of them for hidden states of size h, with experts more, so
    that h is then taken for larger than it is.
    """
    return facts.vocab_size * (layer_size(facts) / 12) ** 0.5


def too_large(model_bytes: int, number: int, smallest: int, present: int) -> str:
    """Return why a model is not evaluated on GPUs, and what would help.

    Args:
        model_bytes: Size of the weights, bytes.
        number: Number of GPUs that may be used.
        smallest: Memory of the smallest of them, bytes.
        present: Number of GPUs of this machine.
    """
    gpus = f"{number} GPU{'s' if number > 1 else ''} of {smallest / GB:.0f} GB"
    more = (
        f"hardware.ranks_per_node: {number} leaves {present - number} of the machine's"
        " GPUs unused, and a larger number, like hardware.accelerator: cpu,"
        if present > number
        else "hardware.accelerator: cpu"
    )
    return (
        f"the model's weights, {model_bytes / GB:.0f} GB, do not fit the {gpus} here:"
        " run this step where there are more, or evaluate.dtype: bfloat16 if it is"
        f" float32; {more} would rerun configure and finetune"
    )
