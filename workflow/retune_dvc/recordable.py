"""Whether DVC can record a run; if not, why."""

import os
from importlib.util import find_spec
from pathlib import Path

import snakemake

from retune.errors import RetuneError
from retune.params import read_params
from retune.settings import Params
from retune.stages import DVC_DOLLAR, Stage, is_code
from retune_dvc.commands import DoubtError
from retune_dvc.memory import read_settings, value_of, written_value

SWITCH_OFF = "RETUNE_NO_DVC"
# The releases whose options and events this package knows.
SNAKEMAKE = "9."


def check_recordable(
    used: Params, stages: dict[str, Stage], local_sources: dict[str, list[str]]
) -> None:
    """Raise DoubtError if DVC cannot record what this run does."""
    if os.environ.get(SWITCH_OFF):
        raise DoubtError(f"{SWITCH_OFF} is set")
    if find_spec("dvc") is None:
        raise DoubtError("dvc is not installed in this environment")
    if not Path(".dvc").is_dir():
        raise DoubtError("there is no .dvc folder here; `dvc init` makes one")
    if not snakemake.__version__.startswith(SNAKEMAKE):
        raise DoubtError(f"Snakemake {snakemake.__version__} is not known to retune")
    settings = read_settings()
    if missing := [name for name in Params.model_fields if name not in settings]:
        raise DoubtError(
            f"params.yaml lacks {', '.join(missing)}, which DVC wants to see; for the"
            f" defaults write `{missing[0]}: {{}}`"
        )
    keys = {name for stage in stages.values() for name in stage.params if "." in name}
    for name in sorted(keys):
        if written_value(name, settings) is None:
            raise DoubtError(
                f"params.yaml lacks {name}, which DVC wants to see; its default is"
                f" {value_of(name, read_params(settings))}"
            )
    if read_params(settings) != used:
        raise DoubtError("some settings are not those of params.yaml")
    for section, files in local_sources.items():
        check_deps_of_user(section, files, stages)


def check_deps_of_user(
    section: str, files: list[str], stages: dict[str, Stage]
) -> None:
    """Raise DoubtError unless dvc.yaml names the user's files that a section names."""
    step = next(name for name, stage in stages.items() if section in stage.params)
    deps = [Path(dep) for dep in stages[step].deps if not is_code(dep)]
    paths = [Path(os.path.relpath(file)) for file in files]
    for path in paths:
        if not any(path.is_relative_to(dep) for dep in deps):
            name = str(path).replace("${", DVC_DOLLAR)
            raise DoubtError(f"add {name} to the deps of {step} in dvc.yaml")
    for dep in deps:
        if not any(path.is_relative_to(dep) for path in paths):
            raise DoubtError(
                f"remove {dep} from the deps of {step} in dvc.yaml: {section} in"
                " params.yaml does not name it"
            )


def is_of_the_file(used: Params, names: tuple[str, ...]) -> bool:
    """Return whether params.yaml says of these settings what this run uses."""
    try:
        written = read_params(read_settings())
    except RetuneError:  # among them DoubtError
        return False
    return all(value_of(name, written) == value_of(name, used) for name in names)
