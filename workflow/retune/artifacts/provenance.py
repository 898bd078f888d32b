"""Where a result was made: results/finetune/provenance.json."""

from pathlib import Path
from typing import ClassVar, Literal, Self

from retune.artifacts.artifact import Artifact


class Provenance(Artifact):
    """Commits, packages and machine that a result was made with.

    No result depends on it. The metrics of the step vouch for the file.

    Attributes:
        format: Number of this format.
        workflow: Commit of the code, and whether the code was as committed.
        params: Commit of params.yaml, which may be of another repository.
        packages: Version of each package.
        machine: What the machine is made of, by kind.
    """

    STEP: ClassVar = "finetune"

    format: Literal[1] = 1
    workflow: str
    params: str
    packages: dict[str, str]
    machine: dict[str, str]

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
