"""Finds what is wrong with the files of `--configfile`, which Snakemake reads first."""

from pathlib import Path

from retune.errors import RetuneError
from retune.settings.params_file import read_params_file
from retune_snakemake.command_line import parse_command_line


def configfile_problems(arguments: list[str]) -> list[str]:
    """Return a text for each file of `--configfile` that cannot be read.

    Args:
        arguments: Arguments of the command `snakemake`.
    """
    values = parse_command_line(arguments)
    problems = []
    for path in (values and values.configfile) or []:
        try:
            read_params_file(Path(path))
        except FileNotFoundError:
            problems.append(
                f"--configfile: there is no file {path}; a target, such as train,"
                " goes before --configfile"
            )
        except RetuneError as error:
            problems.append(str(error))
    return problems
