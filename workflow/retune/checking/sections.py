"""The sections of params.yaml, of which some may be wrong."""

from pathlib import Path
from typing import Any, TypeVar

from retune.checking.outcome import Outcome
from retune.errors import RetuneError
from retune.planning.given_config import merged
from retune.quantities import counted
from retune.settings import Params, PartOfSection, Settings
from retune.settings.params import check_params
from retune.settings.params_file import read_params_file
from retune.settings.renamed_keys import renaming_hints

Section = TypeVar("Section", bound=Settings)

# What an outcome says where a section cannot be read because of an error in it.
WRONG = "the section {} has an error"


class Sections:
    """The sections of params.yaml, as far as they are right."""

    def __init__(self, values: dict[str, Settings | PartOfSection]) -> None:
        """Take the sections, or what is right of each.

        Args:
            values: Sections by name; one that is no mapping is left out.
        """
        self._values = values

    def whole(self, model: type[Section]) -> Section | None:
        """Return a section; None if anything in it is wrong."""
        found = self._values.get(name_of(model))
        return found if isinstance(found, model) else None

    def part(self, model: type[Settings]) -> Any:
        """Return what is right of a section, with the attributes of its model.

        A key that is wrong raises WrongKeyError.
        """
        name = name_of(model)
        return self._values.get(name) or PartOfSection(
            model.model_construct(), model.model_fields
        )

    def of(self, *names: str) -> dict[str, Settings | PartOfSection]:
        """Return some sections by name, those that are there."""
        return {name: self._values[name] for name in names if name in self._values}


def name_of(model: type[Settings]) -> str:
    """Return the name of a section of params.yaml."""
    return next(
        name for name, field in Params.model_fields.items() if field.annotation is model
    )


def read_sections(*files: Path) -> tuple[Sections, Outcome]:
    """Return the sections of settings files, and what is wrong with them.

    Args:
        files: The files; each is merged over those before, as Snakemake does it.

    Raises:
        RetuneError: If a file cannot be read as one of settings at all.
    """
    values: dict[str, Any] = {}
    for file in files:
        try:
            values = merged(values, read_params_file(file))
        except FileNotFoundError:
            raise RetuneError(f"--params: there is no file {file}") from None
    checked = check_params(values)
    names = " with ".join(map(str, files))
    outcome = Outcome(
        f"{names}, {counted(len(values), 'section')}",
        tuple(checked.problems),
        tuple(renaming_hints(values)),
    )
    return Sections(checked.sections), outcome
