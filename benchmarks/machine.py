"""The machine a benchmark ran on."""

import os
import platform
from importlib.metadata import version
from pathlib import Path


def describe_machine() -> str:
    """Return one line: processor, memory, kernel and versions."""
    models = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    packages = ("torch", "deepspeed", "transformers")
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    return (
        f"{len(models)} cores ({models[0]}), {memory:.0f} GiB, Linux"
        f" {platform.release()}, Python {platform.python_version()}, {versions}"
    )
