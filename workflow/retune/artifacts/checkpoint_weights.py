"""What the weights of a checkpoint are, and how they make the model."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from retune.artifacts.artifact import Artifact

FILE = "weights.json"


@dataclass(frozen=True)
class LiveWeight:
    """What a weight was that the ranks held when the checkpoint was saved.

    Attributes:
        dtype: PyTorch's name of the dtype, without `torch.`.
        shape: Size in each dimension.
        sha256: Hex digest of the elements' bytes in order.
    """

    dtype: str
    shape: tuple[int, ...]
    sha256: str


class CheckpointWeights(Artifact):
    """The file weights.json of a checkpoint.

    Attributes:
        format: Number of the file's format.
        tensors: Name in the model -> the weight, of all weights; tied ones have one
            name, and those of adapters the name that peft publishes.
        lora: The content of peft's adapter_config.json; None without adapters.
        in_4bit: Names in the model of the weights that were held in 4 bits (NF4);
            `tensors` has what these stand for.
        layers: File of the checkpoint -> name in the file -> name in the model; None
            without pipeline stages.
    """

    STEP: ClassVar = "finetune"

    format: Literal[1] = 1
    tensors: dict[str, LiveWeight]
    lora: dict[str, Any] | None = None
    in_4bit: tuple[str, ...] = ()
    layers: dict[str, dict[str, str]] | None = None

    @classmethod
    def read(cls, checkpoint: Path) -> Self:
        """Return what the weights of a checkpoint are.

        Raises:
            RetuneError: If the file is of another format.
        """
        return cls.from_file(checkpoint / FILE)

    def write(self, checkpoint: Path) -> None:
        """Write the file into the folder of a checkpoint."""
        self.to_file(checkpoint / FILE)
