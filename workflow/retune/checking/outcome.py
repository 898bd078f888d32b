"""What a check of a run came to."""

import re
from dataclasses import dataclass
from typing import Literal

from retune.settings import Params

# The place before a line that begins with a key of params.yaml.
KEY = re.compile(rf"^(?=(?:{'|'.join(Params.model_fields)})\b[\w.]*: )", re.MULTILINE)

State = Literal["ok", "warning", "error", "not checked"]


@dataclass(frozen=True)
class Outcome:
    """What one check came to.

    Attributes:
        found: What was looked at, in a few words; or why it could not be checked.
        errors: What will stop the run, a text each.
        warnings: What may be a mistake, or stop the run elsewhere, a text each.
        is_checked: Whether all of it could be checked.
    """

    found: str
    errors: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    is_checked: bool = True

    @property
    def state(self) -> State:
        """The worst that was found."""
        if self.errors:
            return "error"
        if self.warnings:
            return "warning"
        return "ok" if self.is_checked else "not checked"


def not_checked(why: str) -> Outcome:
    """Return the outcome of a check that could not be made."""
    return Outcome(why, is_checked=False)


def failed(*errors: Exception | str, found: str = "") -> Outcome:
    """Return the outcome of a check that found errors.

    Args:
        errors: The errors, each with one problem or several, which begin with keys.
        found: What was looked at, in a few words.
    """
    return Outcome(found, tuple(each for one in errors for each in problems_in(one)))


def problems_in(error: Exception | str) -> list[str]:
    """Return the problems of an error, each with the lines that explain it."""
    return [part.rstrip("\n") for part in re.split(KEY, str(error)) if part]
