"""What a command line, with its profile, says to Snakemake's executor for SLURM.

A dry run does not keep it, and no run knows it yet while the rules are read.
"""

from typing import Any

from snakemake_interface_executor_plugins.registry import ExecutorPluginRegistry

from retune_start.command_line import parse_command_line

EXECUTOR = "slurm"


def read_settings(arguments: list[str]) -> Any:
    """Return the executor's settings, None if the jobs are none of SLURM's.

    Args:
        arguments: Of the command `snakemake`.
    """
    values = parse_command_line(arguments)
    if values is None or values.executor != EXECUTOR:
        return None
    return ExecutorPluginRegistry().get_plugin(EXECUTOR).get_settings(values)
