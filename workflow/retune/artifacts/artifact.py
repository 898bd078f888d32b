"""The base of what one step writes and another reads: a typed, frozen model."""

from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from retune.artifacts.publishing import FILES, SEAL, write_sealed, write_text
from retune.artifacts.verifying import read_verified
from retune.errors import RetuneError


class Artifact(BaseModel):
    """What a JSON file between two steps holds.

    Attributes:
        STEP: Name of the step that writes the file.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    STEP: ClassVar[str] = ""

    @classmethod
    def from_file(cls, path: Path) -> Self:
        """Return what a file holds.

        Raises:
            RetuneError: If it is damaged, or another version of retune wrote it.
        """
        try:
            return cls.model_validate_json(path.read_bytes())
        except ValidationError as error:
            raise cls.refusal(error, path) from error

    @classmethod
    def from_json(cls, value: dict[str, Any], path: Path) -> Self:
        """Return what a file holds.

        Args:
            value: The JSON object of the file.
            path: Path of the file, for messages.

        Raises:
            RetuneError: If it is damaged, or another version of retune wrote it.
        """
        try:
            return cls.model_validate(value)
        except ValidationError as error:
            raise cls.refusal(error, path) from error

    @classmethod
    def refusal(cls, error: ValidationError, path: Path) -> RetuneError:
        """Return an error that says what in a file is wrong and how to mend it."""
        first = error.errors()[0]
        where = [".".join(map(str, first["loc"]))] if first["loc"] else []
        return RetuneError(
            f"{path}: not what this version of retune writes"
            f" ({': '.join([*where, first['msg']])}): run {cls.STEP} again"
        )

    def to_file(self, path: Path) -> None:
        """Write the file."""
        write_text(path, self.model_dump_json(indent=2) + "\n")


class SealedArtifact(Artifact):
    """What a sealed file holds, which vouches for files that its step wrote before."""

    @classmethod
    def read(cls, path: Path) -> Self:
        """Return what a file holds, without verifying it against its hash.

        Raises:
            RetuneError: If it is damaged, or another version of retune wrote it.
        """
        return cls.from_file(path)

    @classmethod
    def read_verified(cls, path: Path, *beside: Path) -> Self:
        """Return what a file holds, if it and files that it vouches for are good.

        Args:
            path: The file.
            beside: Files that it vouches for, to be verified as well.

        Raises:
            RetuneError: If one of them is damaged or missing, or another version of
                retune wrote the file.
        """
        return cls.from_json(read_verified(path, cls.STEP, *beside), path)

    def write(self, path: Path, *beside: Path) -> None:
        """Write the file.

        Args:
            path: The file.
            beside: Files, written before, that it vouches for.
        """
        write_sealed(path, self.model_dump(mode="json"), beside)

    @model_validator(mode="before")
    @classmethod
    def _drop_seal(cls, value: Any) -> Any:
        """Drop what a sealed file holds beside the fields."""
        if not isinstance(value, dict):
            return value
        return {key: value[key] for key in value if key not in (FILES, SEAL)}
