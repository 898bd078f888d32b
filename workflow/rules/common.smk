# Shared by all rules: the checked settings, and the code a step depends on.
import os
import sys
from pathlib import Path
from shlex import quote

from snakemake.exceptions import WorkflowError
from snakemake.io import contains_wildcard

import retune
from retune.errors import RetuneError
from retune.sources.local_sources import find_local_sources
from retune.params import read_params
from retune.steps import CODE
from retune_dvc.fingerprints import fingerprint_files
from retune_dvc.run_cache import CACHED

try:
    PARAMS = read_params(config)
    LOCAL_SOURCES = find_local_sources(PARAMS)
except RetuneError as error:
    raise WorkflowError(str(error)) from None

LIBRARY = Path(retune.__file__).parent

# Doubled braces are Snakemake's: it formats the prefix once.
shell.prefix(
    "set -euo pipefail;"
    # Rules call `python -m retune`, so every environment must find the package. Set
    # here and not in os.environ: Snakemake drops PYTHONPATH in conda jobs.
    f" export PYTHONPATH={quote(str(LIBRARY.parent))}${{{{PYTHONPATH:+:$PYTHONPATH}}}};"
    # A step's result that DVC's cache has is brought back instead of made; DVC is in
    # the environment of Snakemake.
    f" brought_back() {{{{ [ -e {CACHED}/$1 ] &&"
    f" {quote(sys.executable)} -m retune_dvc $1; }}}}; "
    # In a job of a cluster: what is stopped goes on in the same job.
    + ("export RETUNE_REQUEUE=1; " if workflow.remote_exec else "")
)


def section(name):
    """Return a section of params.yaml as JSON: all of it that the rule may see.

    A function of it: in a text Snakemake would take {name} for a wildcard of its own.
    """
    return lambda wildcards: getattr(PARAMS, name).model_dump_json()


def watched(section):
    """Return the user's files that Snakemake looks after as inputs."""
    return [path for path in LOCAL_SOURCES[section] if not contains_wildcard(path)]


def stamp(section):
    """Return what changes with the user's other files, whose names hold {name}.

    No input of Snakemake's can be called so, but changed params rerun a step, too.
    """
    others = [path for path in LOCAL_SOURCES[section] if contains_wildcard(path)]
    return lambda wildcards: fingerprint_files(others) if others else ""


def code(step):
    """Return the modules whose change reruns a step; DVC reads the same list."""
    return [os.path.relpath(LIBRARY / f"{module}.py") for module in CODE[step]]


def ranks_per_node():
    """Return how many ranks finetune starts on a node; `auto` is asked of one GPU."""
    ranks = PARAMS.hardware.gpus_per_node
    return 1 if ranks == "auto" else ranks


def gpus_per_node():
    """Return how many GPUs finetune needs on a node."""
    return 0 if PARAMS.hardware.accelerator == "cpu" else ranks_per_node()
