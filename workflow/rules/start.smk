# Included first: how a run is stopped before it starts, and whether Snakemake's folder can
# be written and the settings files read, which Snakemake does next.
import sys
from pathlib import Path

from snakemake.logging import logger

from retune.errors import RetuneError
from retune.settings.params_file import check_params_files, name_settings
from retune_snakemake.command_line import only_shows, parse_command_line
from retune_snakemake.snakemake_internals import SnakemakeRun
from retune_snakemake.upgrades import Upgrades
from retune_start.folders import writing_problem

# What is asked of Snakemake beyond its documented language goes through these two.
SNAKEMAKE = SnakemakeRun(workflow)
UPGRADES = Upgrades(logger.warning)


def stop(problem):
    """End with what a user has to know.

    An exception would be shown with the place in the rules that raised it.
    """
    logger.error(str(problem))
    raise SystemExit(1)


def read_options():
    """Return this Snakemake's options, None if a command line did not start it."""
    return UPGRADES.attempt(
        "Snakemake's options are not known",
        ["snakemake"],
        lambda: parse_command_line(sys.argv[1:]),
        None,
    )


def may_write():
    """Return whether files may change while the rules are read, as in a real run."""
    return OPTIONS is None or not only_shows(OPTIONS)


OPTIONS = read_options() if SNAKEMAKE.is_main_process else None

# Snakemake's own folder; the others are checked when it is known what will run.
if SNAKEMAKE.is_main_process and (
    problem := writing_problem([], [], [], [".snakemake"])
):
    stop(problem)

# A workflow that uses this one as a module may bring settings of its own.
SETTINGS_NAME = "config of the module"
if SNAKEMAKE.has_configfile:
    SETTINGS_FILES = Path("params.yaml"), SNAKEMAKE.configfiles
    try:
        check_params_files(*SETTINGS_FILES)
    except RetuneError as error:
        stop(error)
    SETTINGS_NAME = name_settings(*SETTINGS_FILES, SNAKEMAKE.config_options)
