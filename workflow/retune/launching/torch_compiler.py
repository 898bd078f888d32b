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
    if any(map(shutil.which, wanted)):
        return
    told = " or ".join(wanted)
    if variable in os.environ:
        # PyTorch and Triton run the whole text, `g++ -m64` or `ccache gcc`, too.
        told = f"{variable}={told}, taken for the name of one program without options,"
    raise RetuneError(
        f"configure.torch_compile needs a compiler, and {told} is not here: install one"
        " (Debian: g++), or write false"
    )
