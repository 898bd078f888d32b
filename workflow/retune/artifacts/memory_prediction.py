"""How much memory a training is predicted to take, by phase and by kind."""

from dataclasses import dataclass
from typing import Literal

Kind = Literal[
    "weights",
    "gradients",
    "optimizer_states",
    "buffers",
    "activations",
    "logits",
    "temporary",
    "workspaces",
    "context",
]
Source = Literal["traced", "formula", "unknown"]
PhaseName = Literal[
    "load", "optimizer_init", "forward", "backward", "step", "validation", "save"
]
# What is measured on GPUs.
MeasuredPhase = Literal[
    "load", "optimizer_init", "resume", "training", "validation", "save"
]
# The phases of the prediction that one is measured for.
MEASURED_AS: dict[MeasuredPhase, tuple[PhaseName, ...]] = {
    "load": ("load",),
    "optimizer_init": ("optimizer_init",),
    "resume": (),
    "training": ("forward", "backward", "step"),
    "validation": ("validation",),
    "save": ("save",),
}


@dataclass(frozen=True)
class PhaseMemory:
    """The most that a rank holds on its device in a phase of the training.

    Attributes:
        name: Name of the phase.
        bytes_by_kind: Bytes of each kind of tensor, at the moment when there are most.
    """

    name: PhaseName
    bytes_by_kind: dict[Kind, int]

    @property
    def total(self) -> int:
        """Bytes of all kinds."""
        return sum(self.bytes_by_kind.values())

    @property
    def tensor_bytes(self) -> int:
        """Bytes of all that PyTorch allocates: tensors, and workspaces of cuBLAS."""
        return self.total - self.bytes_by_kind.get("context", 0)


@dataclass(frozen=True)
class MemoryPrediction:
    """The memory of a training, bytes.

    Attributes:
        phases: What each rank holds on its device, GPU or CPU, in each phase.
        main_memory_bytes: Main memory that the ranks of a node take together.
        nvme_bytes: What is offloaded to the fast disk of a node.
        checkpoint_bytes: Disk that one checkpoint takes, over all ranks.
        activations: Whether these were traced through the model's own code, or are by
            a formula; `unknown`: they are not in the phases.
        unverified: What of it was never compared with a measurement, a clause each.
    """

    phases: tuple[PhaseMemory, ...]
    main_memory_bytes: int
    nvme_bytes: int
    checkpoint_bytes: int
    activations: Source
    unverified: tuple[str, ...] = ()

    @property
    def peak(self) -> PhaseMemory:
        """The phase in which a rank holds most."""
        return max(self.phases, key=lambda phase: phase.total)

    @property
    def peak_bytes(self) -> int:
        """The most that a rank holds."""
        return self.peak.total

    def tensor_bytes_of(self, measured: MeasuredPhase) -> int | None:
        """Return the most that a rank has PyTorch allocate in a phase that is measured.

        None of what is not predicted, the loading of a checkpoint to resume from.
        """
        names = MEASURED_AS[measured]
        sizes = [phase.tensor_bytes for phase in self.phases if phase.name in names]
        return max(sizes, default=None)

    @property
    def peak_tensor_bytes(self) -> int:
        """The most that a rank has PyTorch allocate, which PyTorch can measure.

        What a GPU's context takes beside that is the same in every phase.
        """
        return self.peak.tensor_bytes
