"""A repository of the Hugging Face hub at one commit."""

from dataclasses import dataclass
from typing import Literal, Self

from retune.errors import RetuneError
from retune.settings import ModelSettings, SourceSettings

STEPS = {"dataset": "download", "model": "fetch"}


@dataclass(frozen=True)
class Repository:
    """A repository of the hub at one commit.

    Attributes:
        kind: Kind of repository; the section of params.yaml has the same name.
        name: Name on the hub, `owner/name`.
        revision: Commit, 40 hex digits.
    """

    kind: Literal["dataset", "model"]
    name: str
    revision: str

    @classmethod
    def of(cls, settings: SourceSettings | ModelSettings) -> Self:
        """Return the repository that a section with `source: hub` names."""
        # The section was checked for both when params.yaml was read.
        assert settings.name
        assert settings.revision
        kind: Literal["dataset", "model"] = (
            "dataset" if isinstance(settings, SourceSettings) else "model"
        )
        return cls(kind, settings.name, settings.revision)

    def __str__(self) -> str:
        """Return the name with an abbreviated commit, for people."""
        return f"{self.name} at {self.revision[:8]}"

    @property
    def step(self) -> str:
        """Name of the step that downloads the repository."""
        return STEPS[self.kind]

    def problem(self, key: str, what: str) -> RetuneError:
        """Return the error for one setting of this repository's section."""
        return RetuneError(f"{self.kind}.{key}: {what}")
