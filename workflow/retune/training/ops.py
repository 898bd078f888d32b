"""DeepSpeed's compiled operators: found or built before any rank starts.

DeepSpeed builds them at their first use and keeps them in TORCH_EXTENSIONS_DIR
(~/.cache/torch_extensions). In the ranks that would be minutes of silence, and a
missing compiler a traceback.
"""

import contextlib
import logging
import os
import sys
import time
from collections.abc import Iterator
from typing import Any

from retune.errors import RetuneError
from retune.training.build_folders import (
    QUIET_S,
    build_folder,
    only_build_in,
    remove_left_lock,
)

log = logging.getLogger(__name__)

# What it takes to build them, beside ninja, which comes with the package.
NEEDS = {
    "cpu_adam": "a C++ compiler (Debian: g++)",
    "async_io": "a C++ compiler and libaio (Debian: g++ libaio-dev), and the CUDA"
    " toolkit (nvcc) where the ranks use GPUs",
}

# What DeepSpeed builds on the way.
PARTS = {"cpu_adam": ["cpu_adam"], "async_io": ["pin_memory", "async_io"]}


def build_ops(plan: dict[str, Any]) -> None:
    """Load, or else compile, the operators that a plan's offloading needs.

    Raises:
        RetuneError: Naming the setting and what is missing on this machine.
    """
    os.environ["DS_ACCELERATOR"] = plan["hardware"]["accelerator"]
    for operator, setting in needed_ops(plan).items():
        build(operator, setting)


def needed_ops(plan: dict[str, Any]) -> dict[str, str]:
    """Return operator -> the setting, with its value, that needs it."""
    needed = {}
    for key in ("offload_param", "offload_optimizer"):
        if plan[key] == "nvme":
            needed["async_io"] = f"configure.{key}: nvme"
    if plan["offload_optimizer"] != "none":
        value = plan["offload_optimizer"]
        needed["cpu_adam"] = f"configure.offload_optimizer: {value}"
    return needed


def build(operator: str, setting: str) -> None:
    """Load one operator; say so if it has to be compiled first."""
    from deepspeed.ops.op_builder import AsyncIOBuilder, CPUAdamBuilder

    builder = {"cpu_adam": CPUAdamBuilder, "async_io": AsyncIOBuilder}[operator]()
    start = time.monotonic()
    log.info(
        "loading DeepSpeed's %s; the first time it is compiled, for minutes", operator
    )
    try:
        # The compiler writes to stdout, which is the progress bar's.
        with contextlib.redirect_stdout(sys.stderr):
            if not builder.is_compatible(verbose=True):
                raise RuntimeError("it does not suit this machine")
            with only_build_of(not_installed(PARTS[operator])):
                builder.load(verbose=False)
    except Exception as error:
        problem = (str(error) or type(error).__name__).splitlines()[0]
        raise RetuneError(
            f"{setting} needs DeepSpeed's {operator}, which could not be built"
            f" ({problem}): install {NEEDS[operator]}, or write none"
        ) from error
    log.info("%s is there after %.0f s", operator, time.monotonic() - start)


def not_installed(operators: list[str]) -> list[str]:
    """Return the operators that were not compiled when DeepSpeed was installed."""
    from deepspeed.accelerator import get_accelerator
    from deepspeed.git_version_info import accelerator_name, installed_ops

    if accelerator_name != get_accelerator()._name:
        return operators
    return [operator for operator in operators if not installed_ops.get(operator)]


@contextlib.contextmanager
def only_build_of(operators: list[str]) -> Iterator[None]:
    """Keep other builds of the operators, and locks that those left, out of the way."""
    if not operators:
        yield
        return
    folders = [build_folder(operator) for operator in operators]
    with only_build_in(folders[0].parent) as was_killed_here:
        for folder in folders:
            remove_left_lock(folder, quiet=0 if was_killed_here else QUIET_S)
        yield
