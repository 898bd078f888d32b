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
from typing import Any

from retune.errors import RetuneError
from retune.training.build_folders import (
    build_folder,
    only_build_in,
    remove_left_lock,
)

log = logging.getLogger(__name__)

# What it takes to build them, beside ninja, which comes with the package.
NEEDS = {
    "cpu_adam": "a C++ compiler (Debian: g++), and nvcc where the ranks use GPUs",
    "async_io": "a C++ compiler and libaio (Debian: g++ libaio-dev)",
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
            folders = [build_folder(part) for part in PARTS[operator]]
            with only_build_in(folders[0].parent):
                for folder in folders:
                    remove_left_lock(folder)
                builder.load(verbose=False)
    except Exception as error:
        raise RetuneError(
            f"{setting} needs DeepSpeed's {operator}, which could not be built"
            f" ({str(error).splitlines()[0]}): install {NEEDS[operator]}, or write none"
        ) from error
    log.info("%s is there after %.0f s", operator, time.monotonic() - start)
