# Shared by all rules: the checked settings, and the code a step depends on.
import json
import os
import sys
from pathlib import Path
from shlex import quote


from retune.errors import RetuneError
from retune.settings.params import read_params
from retune.settings.renamed_keys import renaming_hints
from retune.sources.file_hashes import list_with_md5
from retune.sources.local_sources import find_local_sources
from retune.supervision.starter import STARTED_BY
from retune.step_code import LIBRARY, STEPS, list_code
from retune_dvc.dvc_internals import DRIVEN_BY_DVC
from retune_dvc.run_cache import CACHED

if SNAKEMAKE.is_main_process:
    for hint in renaming_hints(config):
        logger.warning(f"{SETTINGS_NAME}: {hint}")

try:
    PARAMS = read_params(config, SETTINGS_NAME)
    LOCAL_SOURCES = find_local_sources(PARAMS)
    USER_FILES = {name: list_with_md5(paths) for name, paths in LOCAL_SOURCES.items()}
except RetuneError as error:
    stop(error)

# The name of each step in this workflow; one that uses it as a module may add a prefix.
RULES = {step: SNAKEMAKE.name_of_rule(step) for step in STEPS}
# The rules of a module run under the hooks of the workflow that uses it.
IS_MODULE = SNAKEMAKE.is_module
# The processes without which a step's result is of no use: its shell, Snakemake, whose
# child that is, and DVC where that drives Snakemake.
DRIVERS = "$$ $PPID" + (f" {os.getppid()}" if DRIVEN_BY_DVC in os.environ else "")

# Doubled braces are Snakemake's: it formats the prefix once.
shell.prefix(
    "set -euo pipefail;"
    # Rules call `python -m retune`, so every environment must find the package. Set
    # here and not in os.environ: Snakemake drops PYTHONPATH in conda jobs.
    f" export PYTHONPATH={quote(str(LIBRARY.parent))}${{{{PYTHONPATH:+:$PYTHONPATH}}}};"
    f' export {STARTED_BY}="{DRIVERS}";'
    # A step's result that DVC's cache has is brought back instead of made. Only the
    # environment of Snakemake has DVC.
    f" brought_back() {{{{ [ -e {CACHED}/$1 ] &&"
    f" {quote(sys.executable)} -m retune_dvc restore $1; }}}}; "
    # In a job of a cluster a step that is stopped goes on in the same job.
    + ("export RETUNE_REQUEUE=1; " if SNAKEMAKE.is_job_elsewhere else "")
)


def as_json(settings):
    """Return settings as one text: Snakemake compares a list or a dict as a set."""
    return json.dumps(settings)


def section(name):
    """Return what decides a result of a section of params.yaml, as JSON.

    A function of it: in a text Snakemake would take {name} for a wildcard of its own.
    """
    return lambda wildcards: as_json(getattr(PARAMS, name).decisive())


def part_of_section(name, model):
    """Return what decides a result of those settings of a section that a model has."""
    return lambda wildcards: as_json(model.part_of(getattr(PARAMS, name)).decisive())


def sections_of(model):
    """Return what decides a result of the sections that a model has, as JSON."""
    return lambda wildcards: as_json(model.part_of(PARAMS).decisive())


def operational(name):
    """Return the other settings of a section, as JSON.

    They are among a rule's resources: a change of these reruns nothing.
    """
    return lambda wildcards: as_json(getattr(PARAMS, name).operational())


def user_files(section):
    """Return the user's files that a section names, with the MD5 of each.

    A step sees by its params that they have changed, not by inputs: Snakemake goes by
    the age of these, so a file that was copied with its old date would go unnoticed.
    """
    return lambda wildcards: USER_FILES[section]


def ranks_per_node():
    """Return how many ranks finetune starts on a node; `auto` is asked of one GPU."""
    ranks = PARAMS.hardware.ranks_per_node
    return 1 if ranks == "auto" else ranks


def gpus_per_node():
    """Return how many GPUs finetune needs on a node."""
    return 0 if PARAMS.hardware.accelerator == "cpu" else ranks_per_node()
