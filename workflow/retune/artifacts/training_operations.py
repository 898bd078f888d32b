"""What the time of a few training steps went to: results/finetune/operations.json."""

from pathlib import Path
from typing import ClassVar, Literal, Self

from retune.artifacts.artifact import Artifact

# What rank 0 leaves in the folder of the run; Perfetto opens the trace as it is.
TRACE, OPERATIONS = "trace.json.gz", "operations.json"


class Operation(Artifact):
    """One operation of PyTorch, over all its calls.

    Attributes:
        name: Name that PyTorch gives it, such as `aten::mm`.
        calls_per_step: Mean number of calls in an optimizer step.
        seconds_per_step: Time in an optimizer step, without that of the operations it
            calls: on a GPU of its kernels, else on the CPU.
        share: Fraction of the time of all operations.
    """

    name: str
    calls_per_step: float
    seconds_per_step: float
    share: float


class TrainingOperations(Artifact):
    """The most expensive operations of rank 0; nothing without `finetune.profile`.

    No result depends on it. The metrics of the step vouch for the file.

    Attributes:
        format: Number of this format.
        first_step: First optimizer step that was profiled, from 1; None if none was.
        steps: Number of optimizer steps that were profiled.
        device: Where their time was measured: `cpu` or `cuda`.
        operations: The most expensive ones, the most expensive first.
    """

    STEP: ClassVar = "finetune"

    format: Literal[1] = 1
    first_step: int | None = None
    steps: int = 0
    device: Literal["cpu", "cuda"] = "cpu"
    operations: tuple[Operation, ...] = ()

    @classmethod
    def read(cls, path: Path) -> Self:
        """Return what a file holds that was verified before.

        Raises:
            RetuneError: If the file is of another format, or damaged.
        """
        return cls.from_file(path)

    def write(self, path: Path) -> None:
        """Write the file."""
        self.to_file(path)
