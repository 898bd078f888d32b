# Shared by all rules: the checked settings, and the code a step depends on.
import os
from pathlib import Path
from shlex import quote

from snakemake.exceptions import WorkflowError

import retune
from retune.errors import RetuneError
from retune.sources.local_sources import find_local_sources
from retune.params import read_params
from retune.steps import CODE

try:
    PARAMS = read_params(config)
    LOCAL_SOURCES = find_local_sources(PARAMS)
except RetuneError as error:
    raise WorkflowError(str(error)) from None

LIBRARY = Path(retune.__file__).parent

# Rules call `python -m retune`, so every environment must find the package. Set
# here and not in os.environ: Snakemake drops PYTHONPATH in conda jobs.
shell.prefix(
    "set -euo pipefail;"
    # Doubled twice: once for this f-string, once for Snakemake's formatting.
    f" export PYTHONPATH={quote(str(LIBRARY.parent))}${{{{PYTHONPATH:+:$PYTHONPATH}}}}; "
)


def section(name):
    """Return a section of params.yaml as JSON: all of it that the rule may see."""
    return getattr(PARAMS, name).model_dump_json()


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
