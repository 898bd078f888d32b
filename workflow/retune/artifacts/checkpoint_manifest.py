"""What a checkpoint says of itself: its place in a training, and the files it has."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, Self

from retune.artifacts.artifact import Artifact
from retune.artifacts.publishing import (
    MANIFEST,
    SEAL,
    read_sealed,
    sealed_text,
    write_text,
)
from retune.errors import RetuneError
from retune.settings import Precision


@dataclass(frozen=True)
class SavedFile:
    """A file of a checkpoint as it was written.

    Attributes:
        path: Path of the file in the checkpoint's folder.
        size: Number of its bytes.
        sha256: Hex digest of its bytes.
    """

    path: str
    size: int
    sha256: str


class CheckpointManifest(Artifact):
    """The file manifest.json of a checkpoint, which ends with a hash of itself.

    Attributes:
        format: Number of the file's format.
        run: Key of the training, which is the name of its folder of checkpoints.
        step: Number of optimizer steps done.
        skipped: Number of steps until then that were skipped because loss or gradients
            were not finite.
        validation_loss: Mean loss per predicted token of the validation after this
            step, nats; None if there was none.
        world_size: Number of ranks that saved it.
        zero_stage: ZeRO stage of DeepSpeed, 0 to 3.
        pipeline_stages: Number of pipeline stages of the model.
        precision: Precision of forward and backward pass.
        files: All other files of the checkpoint, sorted by path.
    """

    STEP: ClassVar = "finetune"

    format: Literal[1] = 1
    run: str
    step: int
    skipped: int
    validation_loss: float | None
    world_size: int
    zero_stage: int
    pipeline_stages: int
    precision: Precision
    files: tuple[SavedFile, ...]

    @classmethod
    def read(cls, checkpoint: Path) -> Self:
        """Return the manifest of a checkpoint.

        Raises:
            RetuneError: If it is missing, damaged, or of another format; the sentence
                begins with the path of the manifest.
        """
        path = checkpoint / MANIFEST
        if not path.exists():
            raise RetuneError(f"{path} is missing")
        value = read_sealed(path)
        if value is None:
            raise RetuneError(f"{path} is damaged")
        return cls.from_json({key: value[key] for key in value if key != SEAL}, path)

    def write(self, checkpoint: Path) -> None:
        """Write the manifest into the folder of a checkpoint."""
        write_text(checkpoint / MANIFEST, sealed_text(self.model_dump(mode="json")))
