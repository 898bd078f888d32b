"""Whether this machine has the compiler that torch.compile calls."""

import os
import shutil

from retune.artifacts.plan import Plan
from retune.errors import RetuneError


def check_compiler(plan: Plan) -> None:
    """Raise RetuneError if layers are to be compiled and there is no compiler.

    PyTorch calls a C++ compiler for CPUs, Triton a C compiler for GPUs.
    """
    if not plan.torch_compile:
        return
    variable, known = (
        ("CXX", ["g++"])
        if plan.accelerator == "cpu"
        else ("CC", ["gcc", "clang", "cc"])
    )
    wanted = [os.environ[variable]] if variable in os.environ else known
    if not any(map(shutil.which, wanted)):
        raise RetuneError(
            f"configure.torch_compile: true needs a compiler, and {' or '.join(wanted)}"
            " is not here: install one (Debian: g++), or write false"
        )
