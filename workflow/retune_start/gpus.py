"""Checks that this machine has the GPUs of the settings, without PyTorch.

Where the answer is not sure there is none: the steps ask PyTorch, which takes seconds
to load.
"""

import os
import re
from pathlib import Path

from retune.settings import HardwareSettings

# Device files of AMD's GPUs, of those of Windows under its Linux and of NVIDIA's small
# boards, which are not counted here.
UNCOUNTED = ("kfd", "dxg", "nvgpu*", "nvhost*", "nvmap")
VISIBLE = "CUDA_VISIBLE_DEVICES"


def gpu_problem(
    hardware: HardwareSettings, trains: bool, root: Path = Path("/")
) -> str | None:
    """Return what this machine lacks for the steps, None if it may have all of it.

    Args:
        hardware: Settings of the section `hardware`.
        trains: Whether a step trains; to evaluate a model takes one GPU.
        root: Folder that holds `dev` and `proc`.
    """
    there = count_gpus(root)
    if hardware.accelerator == "cpu" or there is None:
        return None
    limited = f" ({VISIBLE}={os.environ[VISIBLE]})" if VISIBLE in os.environ else ""
    if there == 0:
        return (
            f"hardware.accelerator: cuda, but this machine shows no GPU{limited};"
            " accelerator: cpu trains on its CPUs"
            if hardware.accelerator == "cuda"
            else None
        )
    wanted = hardware.ranks_per_node if trains else 1
    if wanted == "auto" or wanted <= there:
        return None
    return (
        f"hardware.ranks_per_node: {wanted}, but this machine shows {there}{limited};"
        f" write {there}, or auto for all there are"
    )


def count_gpus(root: Path = Path("/")) -> int | None:
    """Return how many GPUs a program sees, None if that is not sure.

    Args:
        root: Folder that holds `dev` and `proc`.
    """
    devices = root / "dev"
    if any(next(devices.glob(name), None) for name in UNCOUNTED):
        return None
    number = sum(
        bool(re.fullmatch(r"nvidia\d+", path.name)) for path in devices.glob("nvidia*")
    )
    # Where there is a driver, it may make the device files when they are first used.
    if number == 0 and (root / "proc/driver/nvidia").exists():
        return None
    return visible_of(number, os.environ.get(VISIBLE))


def visible_of(number: int, chosen: str | None) -> int | None:
    """Return how many of the GPUs the user lets programs see, None if not sure."""
    if chosen is None:
        return number
    names = [name.strip() for name in chosen.split(",") if name.strip()]
    if all(re.fullmatch(r"-?\d+", name) for name in names):
        return sum(0 <= int(name) < number for name in names)
    return None
