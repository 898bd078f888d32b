"""Whether DVC can record a run; if not, why."""

import os
import shlex
from importlib.util import find_spec
from pathlib import Path

import snakemake

from retune.errors import RetuneError
from retune.params import read_params
from retune.settings import Params
from retune.stages import STAGES, Stage
from retune_dvc.commands import DoubtError
from retune_dvc.memory import SETTINGS, read_settings
from retune_dvc.workflow import Workflow

SWITCH_OFF = "RETUNE_NO_DVC"
# The releases whose options and events this package knows.
SNAKEMAKE = "9."


def uses_dvc() -> bool:
    """Return whether this folder is one of DVC's, and the user wants that used."""
    return Path(".dvc").is_dir() and not os.environ.get(SWITCH_OFF)


def check_recordable(
    used: Params, stages: dict[str, Stage], workflow: Workflow
) -> None:
    """Raise DoubtError if DVC cannot record what this run does."""
    if os.environ.get(SWITCH_OFF):
        raise DoubtError(f"{SWITCH_OFF} is set")
    if not Path(".dvc").is_dir():
        raise DoubtError("there is no .dvc folder here; `dvc init` makes one")
    if find_spec("dvc") is None:
        raise DoubtError("dvc is not installed in this environment")
    if not snakemake.__version__.startswith(SNAKEMAKE):
        raise DoubtError(f"Snakemake {snakemake.__version__} is not known to retune")
    if not SETTINGS.exists():
        raise DoubtError(f"there is no {SETTINGS} here, which DVC goes by")
    if read_written() != used:
        raise DoubtError(f"some settings are not those of {SETTINGS}")
    if not STAGES.exists():
        raise DoubtError(f"there is no {STAGES} here; {init_command(workflow)}")
    for step, outputs in workflow.outputs.items():
        if step not in stages or not all(
            is_out(path, stages[step]) for path in outputs
        ):
            raise DoubtError(
                f"{STAGES} does not say what {step} writes; {init_command(workflow)}"
            )


def read_written() -> Params:
    """Return the settings of params.yaml.

    Raises:
        DoubtError: If it cannot be read, or holds anything else, as a workflow that
            uses this one may.
    """
    try:
        written = read_settings()
    except RetuneError as error:
        raise DoubtError(str(error)) from None
    try:
        return read_params(written)
    except RetuneError:
        raise DoubtError(f"{SETTINGS} here is not retune's alone") from None


def is_out(path: str, stage: Stage) -> bool:
    """Return whether a stage writes a file: it is an output, or in one."""
    return any(Path(path).is_relative_to(out) for out in stage.outs)


def init_command(workflow: Workflow) -> str:
    """Return what tells a user how to get a dvc.yaml for this folder."""
    command = ["python", "-m", "retune_dvc", "init"]
    if workflow.snakefile not in default_snakefiles():
        command += ["--snakefile", workflow.snakefile]
    if (prefix := workflow.rules["report"]) != "report":
        command += ["--rules", prefix.replace("report", "*")]
    return f"`{shlex.join(command)}` writes it"


def default_snakefiles() -> list[str]:
    """Return where Snakemake looks by itself."""
    from snakemake.common import SNAKEFILE_CHOICES

    return [str(Path(choice).absolute()) for choice in SNAKEFILE_CHOICES]
