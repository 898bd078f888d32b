# Shared by all rules: the checked settings, and the code a step depends on.
import os
import sys
from pathlib import Path
from shlex import quote


from retune.errors import RetuneError
from retune.params import read_params
from retune.sources.file_hashes import list_with_md5
from retune.sources.local_sources import find_local_sources
from retune.starter import STARTED_BY
from retune.steps import CODE, LIBRARY, code_files, hash_code
from retune_dvc.run_cache import CACHED

try:
    PARAMS = read_params(config, SETTINGS_NAME)
    LOCAL_SOURCES = find_local_sources(PARAMS)
    USER_FILES = {name: list_with_md5(paths) for name, paths in LOCAL_SOURCES.items()}
except RetuneError as error:
    stop(error)

# The name of each step in this workflow; one that uses it as a module may add a prefix.
RULES = {step: workflow.modifier.modify_rulename(step) for step in CODE}
# The rules of a module run under the hooks of the workflow that uses it.
IS_MODULE = not workflow.modifier.is_main_snakefile()
# Without whom a step's result is of no use: its shell, Snakemake, whose child that is,
# and DVC where that drives Snakemake.
DRIVERS = "$$ $PPID" + (f" {os.getppid()}" if "DVC_STAGE" in os.environ else "")

# Doubled braces are Snakemake's: it formats the prefix once.
shell.prefix(
    "set -euo pipefail;"
    # Rules call `python -m retune`, so every environment must find the package. Set
    # here and not in os.environ: Snakemake drops PYTHONPATH in conda jobs.
    f" export PYTHONPATH={quote(str(LIBRARY.parent))}${{{{PYTHONPATH:+:$PYTHONPATH}}}};"
    f' export {STARTED_BY}="{DRIVERS}";'
    # A step's result that DVC's cache has is brought back instead of made; DVC is in
    # the environment of Snakemake.
    f" brought_back() {{{{ [ -e {CACHED}/$1 ] &&"
    f" {quote(sys.executable)} -m retune_dvc restore $1; }}}}; "
    # In a job of a cluster: what is stopped goes on in the same job.
    + ("export RETUNE_REQUEUE=1; " if workflow.remote_exec else "")
)


def section(name):
    """Return a section of params.yaml as JSON: all of it that the rule may see.

    A function of it: in a text Snakemake would take {name} for a wildcard of its own.
    """
    return lambda wildcards: getattr(PARAMS, name).model_dump_json()


def user_files(section):
    """Return the user's files that a section names, with the MD5 of each.

    A step sees by its params that they have changed, not by inputs: Snakemake goes by
    the age of these, so a file that was copied with its old date would go unnoticed.
    """
    return lambda wildcards: USER_FILES[section]


def code(step):
    """Return the files whose change reruns a step; DVC goes by the same list.

    Their bytes are among a rule's params, too, by `hash_code`: Snakemake looks at an
    input only if that is newer than the result.
    """
    return [os.path.relpath(LIBRARY / file) for file in code_files(step)]


def ranks_per_node():
    """Return how many ranks finetune starts on a node; `auto` is asked of one GPU."""
    ranks = PARAMS.hardware.gpus_per_node
    return 1 if ranks == "auto" else ranks


def gpus_per_node():
    """Return how many GPUs finetune needs on a node."""
    return 0 if PARAMS.hardware.accelerator == "cpu" else ranks_per_node()
