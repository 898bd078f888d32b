"""Whether DVC can record a run; if not, why."""

import os
import shlex
from importlib.util import find_spec
from pathlib import Path

import snakemake

from retune.errors import RetuneError
from retune.settings import Params
from retune.settings.params import read_params
from retune_dvc.errors import UnknownStateError
from retune_dvc.resolve import SETTINGS, read_settings
from retune_dvc.stages import STAGES, Stage
from retune_dvc.step_rules import StepRules
from retune_snakemake.snakemake_internals import default_snakefiles

SWITCH_OFF = "RETUNE_NO_DVC"
# The releases of Snakemake whose options and events this package knows.
SNAKEMAKE = "9."


def uses_dvc() -> bool:
    """Return whether this folder is one of DVC's, and the user wants that used."""
    return Path(".dvc").is_dir() and not os.environ.get(SWITCH_OFF)


def check_recordable(used: Params, stages: dict[str, Stage], rules: StepRules) -> None:
    """Check that DVC can record what this run does.

    Args:
        used: Settings of this run.
        stages: The stages of dvc.yaml by name.
        rules: The steps as rules.

    Raises:
        UnknownStateError: If it cannot; the message says why.
    """
    if os.environ.get(SWITCH_OFF):
        raise UnknownStateError(f"{SWITCH_OFF} is set")
    if not Path(".dvc").is_dir():
        raise UnknownStateError("there is no .dvc folder here; `dvc init` makes one")
    if find_spec("dvc") is None:
        raise UnknownStateError("dvc is not installed in this environment")
    if not snakemake.__version__.startswith(SNAKEMAKE):
        raise UnknownStateError(
            f"Snakemake {snakemake.__version__} is not known to retune"
        )
    if not SETTINGS.exists():
        raise UnknownStateError(f"there is no {SETTINGS} here, which DVC goes by")
    if read_written() != used:
        raise UnknownStateError(f"some settings are not those of {SETTINGS}")
    if not STAGES.exists():
        raise UnknownStateError(f"there is no {STAGES} here; {init_command(rules)}")
    for step, outputs in rules.outputs.items():
        if step not in stages or not all(
            is_out(path, stages[step]) for path in outputs
        ):
            raise UnknownStateError(
                f"{STAGES} does not say what {step} writes; {init_command(rules)}"
            )


def read_written() -> Params:
    """Return the settings of params.yaml.

    Raises:
        UnknownStateError: If it cannot be read, or holds anything else, as a workflow
            that uses this one may.
    """
    try:
        written = read_settings()
    except RetuneError as error:
        raise UnknownStateError(str(error)) from None
    try:
        return read_params(written)
    except RetuneError:
        raise UnknownStateError(f"{SETTINGS} here is not retune's alone") from None


def is_out(path: str, stage: Stage) -> bool:
    """Return whether a stage writes a file: it is an output, or in one."""
    return any(Path(path).is_relative_to(out) for out in stage.outs)


def init_command(rules: StepRules) -> str:
    """Return a clause that tells a user how to get a dvc.yaml for this folder."""
    command = ["python", "-m", "retune_dvc", "init"]
    if rules.snakefile not in default_snakefiles():
        command += ["--snakefile", rules.snakefile]
    if (name := rules.rules["report"]) != "report":
        command += ["--rules", name.replace("report", "*")]
    return f"`{shlex.join(command)}` writes it"
