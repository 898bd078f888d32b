# Included first: how a run is stopped before it starts, and whether Snakemake's folder can
# be written and the settings files read, which Snakemake does next.
from pathlib import Path

from snakemake.logging import logger

from retune.errors import RetuneError
from retune.params_file import check_params_files, name_settings
from retune_start.folders import writing_problem


def stop(problem):
    """End with what a user has to know.

    An exception would be shown with the place in the rules that raised it.
    """
    logger.error(str(problem))
    raise SystemExit(1)


# Snakemake's own folder; the others are looked at when it is known what will run.
if workflow.is_main_process and (
    problem := writing_problem([], [], [], [".snakemake"])
):
    stop(problem)

# A workflow that uses this one as a module may bring settings of its own.
SETTINGS_NAME = "config of the module"
if not workflow.modifier.skip_configfile:
    SETTINGS_FILES = Path("params.yaml"), workflow.overwrite_configfiles
    try:
        check_params_files(*SETTINGS_FILES)
    except RetuneError as error:
        stop(error)
    SETTINGS_NAME = name_settings(*SETTINGS_FILES, workflow.config_settings.config)
