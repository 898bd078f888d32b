"""Says which steps each setting of params.yaml reruns, by the stages of dvc.yaml.

Snakemake's rules read the same sections as the stages of the same names, and a step
gets its sections whole: so all settings of a section rerun the same steps.
"""

from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from textwrap import fill

from pydantic import BaseModel

from retune.errors import RetuneError
from retune.settings import Params
from retune.stages import STAGES, Stage, read_stages, with_what_follows

WIDTH = 80
RERUNS, KEPT = "●", "·"
LEGEND = f"{RERUNS} reruns when one of these settings changes   {KEPT} is kept"


@dataclass(frozen=True)
class Reruns:
    """One section of params.yaml: its settings, and the steps that they rerun."""

    section: str
    settings: tuple[str, ...]
    steps: tuple[str, ...]

    @property
    def names(self) -> list[str]:
        """What a user may call a row: the section, or one of its settings."""
        return [self.section, *(f"{self.section}.{key}" for key in self.settings)]


def run(name: str | None = None, path: Path = STAGES) -> str:
    """Return a table of all settings, or what one of them reruns, for the terminal.

    Args:
        name: A setting, as in `finetune.learning_rate`, or a section; None for all.
        path: The file that holds the stages.

    Raises:
        RetuneError: If the file is not there or no setting has this name.
    """
    try:
        stages = read_stages(path)
    except FileNotFoundError:
        raise RetuneError(
            f"{path} is not in this folder: run this beside params.yaml and {path}"
        ) from None
    rows = find_reruns(stages)
    if name is None:
        return render_table(rows, list(stages))
    return render_one(name, find_row(name, rows).steps, list(stages))


def find_reruns(stages: dict[str, Stage]) -> list[Reruns]:
    """Return a row per section, in the order of params.yaml; steps as they run."""
    return [
        Reruns(
            section,
            settings_of(section),
            tuple(with_what_follows(readers_of(section, stages), stages)),
        )
        for section in Params.model_fields
    ]


def settings_of(section: str) -> tuple[str, ...]:
    """Return the keys of a section of params.yaml."""
    model = Params.model_fields[section].annotation
    assert isinstance(model, type)
    assert issubclass(model, BaseModel)
    return tuple(model.model_fields)


def readers_of(section: str, stages: dict[str, Stage]) -> list[str]:
    """Return the stages that read a section."""
    return [name for name, stage in stages.items() if section in stage.params]


def find_row(name: str, rows: list[Reruns]) -> Reruns:
    """Return the row of a section or setting, or raise RetuneError."""
    for row in rows:
        if name in row.names:
            return row
    known = [other for row in rows for other in row.names]
    raise RetuneError(f"{name}: unknown setting; {suggest(name, known)}")


def suggest(name: str, known: list[str]) -> str:
    """Return `did you mean X?`: the same key in any section, or the closest name."""
    same_key = [other for other in known if other.endswith(f".{name}")]
    close = same_key or get_close_matches(name, known, n=1)
    if close:
        return f"did you mean {', '.join(close)}?"
    return f"there are: {', '.join(Params.model_fields)}"


def render_table(rows: list[Reruns], steps: list[str]) -> str:
    """Return a matrix of sections and steps, with each section's settings beside it."""
    indent = max(len(row.section) for row in rows) + 2
    # The names of the steps go down like stairs, each over its own column.
    head = [f"{'':{indent}}{'│ ' * number}{step}" for number, step in enumerate(steps)]
    blocks = ["\n".join(head), *(render_row(row, steps, indent) for row in rows)]
    return "\n\n".join([*blocks, LEGEND])


def render_row(row: Reruns, steps: list[str], indent: int) -> str:
    """Return a section, its marks and its settings."""
    marks = " ".join(RERUNS if step in row.steps else KEPT for step in steps)
    return list_behind(f"{row.section:<{indent}}{marks}  ", row.settings)


def render_one(name: str, reruns: tuple[str, ...], steps: list[str]) -> str:
    """Return the steps that one setting or section reruns, and those it does not."""
    kept = tuple(step for step in steps if step not in reruns)
    lines = [list_behind("  reruns  ", reruns), list_behind("  keeps   ", kept)]
    return "\n".join([name, *lines])


def list_behind(label: str, words: tuple[str, ...]) -> str:
    """Return a label and a list of words, wrapped so that they stay right of it."""
    listed = ", ".join(words) or "nothing"
    return fill(listed, WIDTH, initial_indent=label, subsequent_indent=" " * len(label))
