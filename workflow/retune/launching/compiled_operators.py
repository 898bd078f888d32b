"""DeepSpeed's compiled operators: found or built before any rank starts.

DeepSpeed builds them at their first use and keeps them in TORCH_EXTENSIONS_DIR
(~/.cache/torch_extensions). If the ranks built them, a training would begin with
minutes of silence, and a missing compiler would be a traceback.
"""

import contextlib
import logging
import os
import shutil
import sys
import time
from collections.abc import Iterator

from retune.artifacts.plan import Plan
from retune.compat.deepspeed_builds import (
    extensions_to_build,
    load_operator,
    suits_this_machine,
)
from retune.compat.pytorch_extensions import build_folder, is_built
from retune.errors import RetuneError
from retune.launching.build_folders import (
    QUIET_S,
    only_build_in,
    remove_left_lock,
)
from retune.launching.torch_compiler import check_compiler

log = logging.getLogger(__name__)

# What each needs to be built, besides ninja, which comes with the package.
NEEDS = {
    "cpu_adam": "a C++ compiler (Debian: g++)",
    "async_io": "a C++ compiler and libaio (Debian: g++ libaio-dev), and the CUDA"
    " toolkit (nvcc) where the ranks use GPUs",
}


def build_ops(plan: Plan) -> None:
    """Load, or else compile, the operators that a plan's offloading needs.

    Layers are compiled by the ranks; here a compiler is looked for.

    Raises:
        RetuneError: Naming the setting and what is missing on this machine.
    """
    check_compiler(plan)
    os.environ["DS_ACCELERATOR"] = plan.accelerator
    for operator, setting in needed_ops(plan).items():
        build(operator, setting)


def needed_ops(plan: Plan) -> dict[str, str]:
    """Return operator -> the setting, with its value, that needs it."""
    needed = {}
    if plan.offload_param == "nvme":
        needed["async_io"] = "configure.offload_param: nvme"
    if plan.offload_optimizer == "nvme":
        needed["async_io"] = "configure.offload_optimizer: nvme"
    if plan.offload_optimizer != "none":
        value = plan.offload_optimizer
        needed["cpu_adam"] = f"configure.offload_optimizer: {value}"
    return needed


def check_tools(plan: Plan) -> tuple[list[str], list[str]]:
    """Return the operators of a plan, and what is missing here to compile them.

    Nothing is compiled but a test for libaio. An operator that was compiled before
    needs nothing.

    Returns:
        Names of the operators; a text for each setting whose operator cannot be
        compiled.
    """
    operators, problems = needed_ops(plan), []
    for operator, setting in operators.items():
        extensions = extensions_to_build(operator)
        if all(map(is_built, extensions)):
            continue
        if missing := missing_tools(operator):
            problems.append(
                f"{setting} needs DeepSpeed's {operator}, which cannot be compiled"
                f" without {' and '.join(missing)}: install {NEEDS[operator]}, or write"
                " none"
            )
    return list(operators), problems


def missing_tools(operator: str) -> list[str]:
    """Return what is not here of what an operator is compiled with."""
    from torch.utils.cpp_extension import get_cxx_compiler, is_ninja_available

    compiler = get_cxx_compiler()
    missing = [] if shutil.which(compiler.split()[0]) else [f"a compiler ({compiler})"]
    if not is_ninja_available():
        missing.append("ninja")
    # DeepSpeed looks for libaio by compiling a test.
    if not missing and not suits_this_machine(operator):
        missing.append("libaio")
    return missing


def build(operator: str, setting: str) -> None:
    """Load one operator, which is compiled first if that has not been done.

    Args:
        operator: Name of the operator.
        setting: The setting, with its value, that needs it.

    Raises:
        RetuneError: Naming the setting and what is missing on this machine.
    """
    start = time.monotonic()
    log.info(
        "loading DeepSpeed's %s; the first time it is compiled, for minutes", operator
    )
    try:
        # The compiler writes to stdout, which is the progress bar's.
        with contextlib.redirect_stdout(sys.stderr):
            if not suits_this_machine(operator):
                raise RuntimeError("it does not suit this machine")
            with only_build_of(extensions_to_build(operator)):
                load_operator(operator)
    except Exception as error:
        problem = (str(error) or type(error).__name__).splitlines()[0]
        raise RetuneError(
            f"{setting} needs DeepSpeed's {operator}, which could not be built"
            f" ({problem}): install {NEEDS[operator]}, or write none"
        ) from error
    log.info("%s is there after %.0f s", operator, time.monotonic() - start)


@contextlib.contextmanager
def only_build_of(extensions: list[str]) -> Iterator[None]:
    """Wait for other builds of the extensions, and remove the locks that those left."""
    if not extensions:
        yield
        return
    folders = [build_folder(extension) for extension in extensions]
    with only_build_in(folders[0].parent) as was_killed_here:
        for folder in folders:
            remove_left_lock(folder, quiet=0 if was_killed_here else QUIET_S)
        yield
