"""Says which steps each setting of params.yaml reruns, by the stages of dvc.yaml.

Snakemake's rules read the same settings as the stages of the same names. A step gets
most of its sections whole, and so their settings rerun the same steps.
"""

from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from textwrap import fill

from retune.errors import RetuneError
from retune.settings import Params, Settings
from retune_dvc.stages import STAGES, Stage, read_stages, section_of, with_what_follows

WIDTH = 80
RERUNS, KEPT = "●", "·"
LEGEND = f"{RERUNS} reruns when one of these settings changes   {KEPT} is kept"


@dataclass(frozen=True)
class Reruns:
    """Settings of one section of params.yaml that rerun the same steps.

    Attributes:
        section: Name of the section.
        settings: Keys of the settings.
        steps: Names of the steps that they rerun, in the order of the run.
    """

    section: str
    settings: tuple[str, ...]
    steps: tuple[str, ...]


def run(name: str | None = None, path: Path = STAGES) -> str:
    """Return a table of all settings, or what one of them reruns, for the terminal.

    Args:
        name: A setting, as in `finetune.learning_rate`, or a section; None for all.
        path: Path of the file that holds the stages.

    Raises:
        RetuneError: If the file is not there or no setting has this name.
    """
    try:
        stages = read_stages(path)
    except FileNotFoundError:
        raise RetuneError(
            f"{path} is not in this folder: run this beside params.yaml and {path}"
        ) from None
    if name is None:
        return render_table(find_reruns(stages), list(stages))
    return render_one(name, find_steps(name, stages), list(stages))


def find_reruns(stages: dict[str, Stage]) -> list[Reruns]:
    """Return a row for each set of steps that settings of a section rerun.

    Sections and settings stand in the order of params.yaml, steps as they run.
    """
    rows = []
    for section in Params.model_fields:
        settings_by_steps: dict[tuple[str, ...], list[str]] = {}
        for key in settings_of(section):
            steps = find_steps(f"{section}.{key}", stages)
            settings_by_steps.setdefault(steps, []).append(key)
        rows += [
            Reruns(section, tuple(keys), steps)
            for steps, keys in settings_by_steps.items()
        ]
    return rows


def settings_of(section: str) -> tuple[str, ...]:
    """Return the keys of a section of params.yaml."""
    return tuple(model_of(section).model_fields)


def model_of(section: str) -> type[Settings]:
    """Return the model of a section of params.yaml."""
    model = Params.model_fields[section].annotation
    assert isinstance(model, type)
    assert issubclass(model, Settings)
    return model


def find_steps(name: str, stages: dict[str, Stage]) -> tuple[str, ...]:
    """Return the steps that a setting reruns, or any setting of a section.

    Raises:
        RetuneError: If there is no such setting.
    """
    known = [
        *Params.model_fields,
        *(
            f"{section}.{key}"
            for section in Params.model_fields
            for key in settings_of(section)
        ),
    ]
    if name not in known:
        raise RetuneError(f"{name}: unknown setting; {suggest(name, known)}")
    if is_operational(name):
        return ()
    readers = [
        step
        for step, stage in stages.items()
        if any(
            setting in (name, section_of(name)) or section_of(setting) == name
            for setting in stage.params
        )
    ]
    return tuple(with_what_follows(readers, stages))


def is_operational(name: str) -> bool:
    """Return whether a setting decides nothing of any result."""
    section, _, key = name.partition(".")
    return key in model_of(section).OPERATIONAL


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
    """Return a row: a section, a sign for each step, and its settings."""
    signs = " ".join(RERUNS if step in row.steps else KEPT for step in steps)
    return list_behind(f"{row.section:<{indent}}{signs}  ", row.settings)


def render_one(name: str, reruns: tuple[str, ...], steps: list[str]) -> str:
    """Return the steps that one setting or section reruns, and those it does not."""
    kept = tuple(step for step in steps if step not in reruns)
    lines = [list_behind("  reruns  ", reruns), list_behind("  keeps   ", kept)]
    return "\n".join([name, *lines])


def list_behind(label: str, words: tuple[str, ...]) -> str:
    """Return a label and a list of words, wrapped so that they stay right of it."""
    listed = ", ".join(words) or "nothing"
    return fill(listed, WIDTH, initial_indent=label, subsequent_indent=" " * len(label))
