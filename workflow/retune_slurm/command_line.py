"""What a command line, with its profile, says to Snakemake's executor for SLURM.

Snakemake does not keep it in a dry run, and does not know it yet while it reads the
rules.
"""

from typing import TYPE_CHECKING

from retune_slurm.executor_internals import EXECUTOR, read_executor_settings
from retune_snakemake.command_line import parse_command_line

if TYPE_CHECKING:
    from snakemake_executor_plugin_slurm import ExecutorSettings


def read_settings(arguments: list[str]) -> "ExecutorSettings | None":
    """Return the executor's settings, None if no job would be SLURM's.

    Args:
        arguments: Arguments of the command `snakemake`.
    """
    options = parse_command_line(arguments)
    if options is None or options.executor != EXECUTOR:
        return None
    return read_executor_settings(options)
