"""What happens when a tool was upgraded and one of its private names is gone.

The run goes on, and one warning says what no longer works.
"""

import re
from collections.abc import Callable, Iterable
from importlib.metadata import PackageNotFoundError, version
from typing import TypeVar

from retune.errors import RetuneError

# The releases whose private names this project was written for and is tested with.
WRITTEN_FOR = {
    "snakemake": "9.27.1",
    "dvc": "3.67.1",
    "snakemake-executor-plugin-slurm": "2.8.0",
}

Result = TypeVar("Result")


class Upgrades:
    """Calls what depends on private names of other tools, and warns if it fails."""

    def __init__(self, warn: Callable[[str], None]) -> None:
        """Have warned of nothing yet.

        Args:
            warn: Function that shows a line to the user.
        """
        self._warn = warn
        self._lost: set[str] = set()

    def attempt(
        self,
        lost: str,
        tools: Iterable[str],
        action: Callable[[], Result],
        otherwise: Result,
    ) -> Result:
        """Return the result of a function, or a substitute where it breaks.

        An error that has a message for the user passes: it is no matter of versions.

        Args:
            lost: What no longer works then, as the first words of the warning. Each is
                said once.
            tools: Names of the packages whose private names the function uses.
            action: Function that uses them.
            otherwise: What is returned where it breaks.
        """
        try:
            return action()
        except RetuneError:
            raise
        except Exception as error:
            if lost not in self._lost:
                self._lost.add(lost)
                self._warn(f"{lost}: {explain_break(error, tools)}")
            return otherwise


def explain_break(error: Exception, tools: Iterable[str]) -> str:
    """Return the error and which of these tools may have caused it, as one line."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return f"{text} ({'; '.join(map(compare_release, tools))})"


def compare_release(tool: str) -> str:
    """Return whether the installed release of a tool is the one known here."""
    known = WRITTEN_FOR[tool]
    try:
        installed = version(tool)
    except PackageNotFoundError:
        return f"{tool} is not installed"
    if release(installed) > release(known):
        return f"{tool} {installed} is newer than this was written for"
    if release(installed) < release(known):
        return f"{tool} {installed} is older than this was written for"
    return f"{tool} {installed}"


def release(version: str) -> tuple[int, ...]:
    """Return the numbers of a version, as in (9, 27, 1)."""
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])
