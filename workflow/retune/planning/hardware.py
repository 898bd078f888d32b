"""The machines of a run, with `auto` replaced by what this machine has."""

import os
from dataclasses import dataclass
from typing import Literal, TypeVar

from retune.errors import RetuneError
from retune.model_states import GB
from retune.settings import HardwareSettings

Value = TypeVar("Value")

# Ranks on a node without GPUs, for `gpus_per_node: auto`.
CPU_RANKS = 2


@dataclass(frozen=True)
class Hardware:
    """The machines of the run; memory and name are None where nobody said."""

    accelerator: str
    nodes: int
    gpus_per_node: int
    gpu_memory_gb: float | None
    cpu_memory_gb: float | None
    gpu_name: str | None = None
    has_bf16: bool = True

    @property
    def world_size(self) -> int:
        """Number of ranks."""
        return self.nodes * self.gpus_per_node


def resolve_hardware(settings: HardwareSettings) -> Hardware:
    """Return the hardware with `auto` replaced by what this machine has."""
    if settings.accelerator == "cpu":
        return cpu_ranks(settings)
    import torch

    here = torch.cuda.is_available()
    if settings.accelerator == "auto" and not here:
        return cpu_ranks(settings)
    if settings.gpus_per_node == "auto" and not here:
        raise RetuneError(
            "hardware.gpus_per_node: auto, but this machine has no GPU to count;"
            " give the number of the machine that will train"
        )
    # Several nodes, or a machine without GPUs: this is not where the run will be.
    is_this_machine = here and settings.nodes == 1
    device = torch.cuda.get_device_properties(0) if is_this_machine else None
    return Hardware(
        accelerator="cuda",
        nodes=settings.nodes,
        gpus_per_node=known(settings.gpus_per_node) or torch.cuda.device_count(),
        gpu_memory_gb=known(settings.gpu_memory_gb)
        or (device and round(device.total_memory / GB, 1)),
        cpu_memory_gb=known(settings.cpu_memory_gb)
        or (main_memory_gb() if is_this_machine else None),
        gpu_name=device and device.name,
        has_bf16=device is None
        or torch.cuda.is_bf16_supported(including_emulation=False),
    )


def cpu_ranks(settings: HardwareSettings) -> Hardware:
    """Return hardware whose ranks are processes on CPUs, two a node if not told."""
    return Hardware(
        accelerator="cpu",
        nodes=settings.nodes,
        gpus_per_node=known(settings.gpus_per_node) or CPU_RANKS,
        gpu_memory_gb=None,
        cpu_memory_gb=known(settings.cpu_memory_gb),
    )


def known(value: Value | Literal["auto"]) -> Value | None:
    """Return a setting's value, None for `auto`."""
    return None if value == "auto" else value


def main_memory_gb() -> float:
    """Return the main memory of this machine, GB."""
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GB, 1)
