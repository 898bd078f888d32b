"""What a command line, with its profile, says to Snakemake's executor for SLURM.

A dry run does not keep it, and no run knows it yet while the rules are read.
"""

import contextlib
import io
from typing import Any

from snakemake.cli import parse_args
from snakemake_interface_executor_plugins.registry import ExecutorPluginRegistry

EXECUTOR = "slurm"


def read_settings(arguments: list[str]) -> Any:
    """Return the executor's settings, None if the jobs are none of SLURM's.

    Args:
        arguments: Of the command `snakemake`.
    """
    try:
        # It says which profile it reads, which Snakemake has said already.
        with contextlib.redirect_stderr(io.StringIO()):
            _, values = parse_args(arguments)
    except SystemExit:
        return None  # Snakemake was started in another way
    if values.executor != EXECUTOR:
        return None
    return ExecutorPluginRegistry().get_plugin(EXECUTOR).get_settings(values)
