"""Whether this machine has Liger's kernels, if the plan is to compute with them."""

import socket
from importlib.util import find_spec

from retune.artifacts.plan import Plan
from retune.errors import RetuneError


def check_liger_kernel(plan: Plan) -> None:
    """Raise RetuneError if layers are to compute with kernels that are not here."""
    if plan.use_liger_kernel and find_spec("liger_kernel") is None:
        raise RetuneError(
            "configure.use_liger_kernel: the plan needs liger-kernel, which is not"
            f" installed on {socket.gethostname()}: pip install liger-kernel, or write"
            " false"
        )
