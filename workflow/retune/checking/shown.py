"""The checks of a run as lines for people."""

import shutil
from collections.abc import Iterable, Sequence
from textwrap import indent, wrap

from retune.checking.outcome import Outcome
from retune.quantities import counted

# Width of the columns with the name of a check, and with its state.
NAME, STATE = 16, 13
# Columns of the text where it goes to no terminal, and at least.
PIPED, LEAST = 100, 60


def line_of(name: str, outcome: Outcome) -> str:
    """Return the line of a check; a long one goes on below itself."""
    width = max(shutil.get_terminal_size((PIPED, 24)).columns, LEAST)
    head = f"{name:{NAME}}{outcome.state:{STATE}}"
    return "\n".join(
        wrap(
            f"{head}{outcome.found}",
            width,
            subsequent_indent=" " * len(head),
            break_long_words=False,
            break_on_hyphens=False,
        )
    )


def problems_text(outcomes: Sequence[Outcome]) -> str:
    """Return all errors and warnings, each once, after their number."""
    groups = [
        group_text("error", (text for each in outcomes for text in each.errors)),
        group_text("warning", (text for each in outcomes for text in each.warnings)),
    ]
    groups.append("" if groups[0] else no_errors(outcomes))
    return "\n\n".join(filter(None, groups))


def no_errors(outcomes: Sequence[Outcome]) -> str:
    """Return that there are no errors, and how much could not be checked."""
    number = sum(not outcome.is_checked for outcome in outcomes)
    rest = f"; {number} of {len(outcomes)} not checked" if number else ""
    return f"no errors{rest}"


def group_text(noun: str, texts: Iterable[str]) -> str:
    """Return texts, each once, after their number; nothing if there are none."""
    once = list(dict.fromkeys(texts))
    if not once:
        return ""
    # What follows the first line of a text belongs to it.
    lines = [indent(indent(text, "    ").lstrip(), "  ") for text in once]
    return "\n".join([f"{counted(len(once), noun)}:", *lines])
