"""Whether this machine has Liger's kernels, if the plan is to compute with them."""

import socket

from retune.errors import RetuneError
from retune.planning.liger_version import INSTALL, version_problem
from retune.settings.rules import Strategy


def check_liger_kernel(strategy: Strategy) -> None:
    """Raise RetuneError if layers are to compute with kernels that are not here."""
    if strategy.use_liger_kernel is True and (problem := version_problem()):
        raise RetuneError(
            "configure.use_liger_kernel: the plan needs Liger's kernels, but on"
            f" {socket.gethostname()} {problem}: {INSTALL}, or write false"
        )
