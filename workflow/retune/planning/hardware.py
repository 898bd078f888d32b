"""The machines of a run, with `auto` replaced by what this machine has."""

import os
from dataclasses import dataclass
from typing import Literal, TypeVar

from retune.errors import RetuneError
from retune.planning.gpus import lacks_bf16
from retune.settings import Accelerator, HardwareSettings
from retune.units import GB

Value = TypeVar("Value")

# Number of ranks on a node without GPUs, where `ranks_per_node` is `auto`.
CPU_RANKS = 2


@dataclass(frozen=True)
class Hardware:
    """The machines of the run; a value is None where it is not known.

    Attributes:
        accelerator: Kind of device that the ranks compute on.
        nodes: Number of machines.
        ranks_per_node: Number of processes on each machine; on GPUs one for each GPU.
        gpu_memory_gb: Memory of one GPU, GB.
        cpu_memory_gb: Main memory of one node, GB.
        gpu_name: Name of the GPU in PyTorch.
        has_bf16: Whether the GPU computes bf16 at full speed.
        link_gb_per_s: What a GPU sends to the others of its node, GB/s.
        network_gb_per_s: What a node sends to the others, GB/s.
        nvme_gb_per_s: What the disk for offloading reads, GB/s.
    """

    accelerator: Accelerator
    nodes: int
    ranks_per_node: int
    gpu_memory_gb: float | None
    cpu_memory_gb: float | None
    gpu_name: str | None = None
    has_bf16: bool = True
    link_gb_per_s: float | None = None
    network_gb_per_s: float | None = None
    nvme_gb_per_s: float | None = None

    @property
    def world_size(self) -> int:
        """Number of ranks."""
        return self.nodes * self.ranks_per_node


def resolve_hardware(settings: HardwareSettings) -> Hardware:
    """Return the hardware with `auto` replaced by what this machine has.

    Raises:
        RetuneError: If the GPUs are to be counted here and this machine has none.
    """
    if settings.accelerator == "cpu":
        return cpu_hardware(settings)
    import torch

    here = torch.cuda.is_available()
    if settings.accelerator == "auto" and not here:
        return cpu_hardware(settings)
    if settings.ranks_per_node == "auto" and not here:
        raise RetuneError(
            "hardware.ranks_per_node: auto, but this machine has no GPU to count;"
            " give the number of the machine that will train"
        )
    # A run on several nodes, or planned on a machine without GPUs, trains elsewhere.
    is_this_machine = here and settings.nodes == 1
    gpu_memory_gb = unless_auto(settings.gpu_memory_gb)
    cpu_memory_gb = unless_auto(settings.cpu_memory_gb)
    gpu_name = None if settings.gpu_name == "auto" else settings.gpu_name
    if is_this_machine:
        device = torch.cuda.get_device_properties(0)
        gpu_name = gpu_name or device.name
        gpu_memory_gb = gpu_memory_gb or round(device.total_memory / GB, 1)
        cpu_memory_gb = cpu_memory_gb or main_memory_gb()
    return Hardware(
        accelerator="cuda",
        nodes=settings.nodes,
        ranks_per_node=unless_auto(settings.ranks_per_node)
        or torch.cuda.device_count(),
        gpu_memory_gb=gpu_memory_gb,
        cpu_memory_gb=cpu_memory_gb,
        gpu_name=gpu_name,
        has_bf16=torch.cuda.is_bf16_supported(including_emulation=False)
        if is_this_machine
        else not lacks_bf16(gpu_name or ""),
        link_gb_per_s=unless_auto(settings.link_gb_per_s),
        network_gb_per_s=unless_auto(settings.network_gb_per_s),
        nvme_gb_per_s=unless_auto(settings.nvme_gb_per_s),
    )


def cpu_hardware(settings: HardwareSettings) -> Hardware:
    """Return hardware whose ranks are processes on CPUs."""
    return Hardware(
        accelerator="cpu",
        nodes=settings.nodes,
        ranks_per_node=unless_auto(settings.ranks_per_node) or CPU_RANKS,
        gpu_memory_gb=None,
        cpu_memory_gb=unless_auto(settings.cpu_memory_gb),
    )


def unless_auto(value: Value | Literal["auto"]) -> Value | None:
    """Return a setting's value, None for `auto`."""
    return None if value == "auto" else value


def main_memory_gb() -> float:
    """Return the main memory of this machine, GB."""
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GB, 1)
