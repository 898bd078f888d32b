"""GPUs by name: what their makers' data sheets and white papers promise."""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Gpu:
    """One device. Sheets often print twice as many FLOP/s, for sparse matrices.

    Attributes:
        half: Dense TFLOP/s of matrix products in bf16 and fp16, with fp32 accumulation.
        single: TFLOP/s in fp32 without TF32, which torch does not use by default; None
            where no figure can be trusted.
        memory: Bandwidth of its memory, GB/s.
        link: Bandwidth to the other GPUs of a node, each way, GB/s.
        host: Bandwidth to main memory, each way, GB/s.
    """

    half: float
    single: float | None
    memory: float
    link: float
    host: float


# GB/s of 16 lanes, each way, by generation of PCIe: what copies of pinned memory reach.
PCIE_3, PCIE_4, PCIE_5 = 12.0, 24.0, 50.0
GPUS = {
    "B200": Gpu(2250, 75, 8000, 900, PCIE_5),
    "GB200": Gpu(2500, 80, 8000, 900, 225),
    "GH200": Gpu(989, 67, 4000, 450, 225),
    "H200": Gpu(989, 67, 4800, 450, PCIE_5),
    "H200 NVL": Gpu(835, 60, 4800, 450, PCIE_5),
    "H100": Gpu(989, 67, 3350, 450, PCIE_5),
    "H100 NVL": Gpu(835, 60, 3900, 300, PCIE_5),
    "H100 PCIE": Gpu(756, 51, 2000, PCIE_5, PCIE_5),
    "A100": Gpu(312, 19.5, 2039, 300, PCIE_4),
    "A100 PCIE": Gpu(312, 19.5, 1555, PCIE_4, PCIE_4),
    "A40": Gpu(149.7, 37.4, 696, PCIE_4, PCIE_4),
    "A30": Gpu(165, 10.3, 933, PCIE_4, PCIE_4),
    "A10": Gpu(125, 31.2, 600, PCIE_4, PCIE_4),
    "A10G": Gpu(70, None, 600, PCIE_4, PCIE_4),
    "L40S": Gpu(362, 91.6, 864, PCIE_4, PCIE_4),
    "L40": Gpu(181, 90.5, 864, PCIE_4, PCIE_4),
    "L4": Gpu(121, 30.3, 300, PCIE_4, PCIE_4),
    "V100": Gpu(125, 15.7, 900, 150, PCIE_3),
    "V100 PCIE": Gpu(112, 14, 900, PCIE_3, PCIE_3),
    "T4": Gpu(65, 8.1, 300, PCIE_3, PCIE_3),
    "RTX 3090": Gpu(71, 35.6, 936, PCIE_4, PCIE_4),
    "RTX 4090": Gpu(165, 82.6, 1008, PCIE_4, PCIE_4),
    "MI300X": Gpu(1307, 163.4, 5300, 448, PCIE_5),
    # Half of the package, because torch takes each of its two dies for a device.
    "MI250X": Gpu(191.5, 23.9, 1600, 150, PCIE_4),
}
# Words of the names of GPUs before Ampere.
WITHOUT_BF16 = {
    *("V100", "T4", "P100", "P40", "P4", "K80", "M60", "TITAN", "GTX", "V100S"),
    *("2060", "2070", "2080", "6000", "8000", "5000"),
}
# Ampere and later ones with the same numbers.
WITH_BF16 = {"ADA", "BLACKWELL", "A6000", "A5000"}
# Bytes of the workspace that PyTorch has its allocator reserve for each of cuBLAS's
# handles (aten/src/ATen/cuda/CublasHandlePool.cpp): 8,192 KiB and 8 times 16 KiB, on
# Hopper, in newer versions on Blackwell, and by ROCm 32 MiB, on MI300 (gfx942) 128 MiB.
WORKSPACE, LARGE_WORKSPACE = 2 * 4096 * 2**10 + 8 * 16 * 2**10, 32 * 2**20
MI300_WORKSPACE = 128 * 2**20
HOPPER_AND_LATER = {
    *("H100", "H200", "H800", "H20", "GH200"),
    *("B200", "B300", "GB200", "GB300"),
}
MI300 = {"MI300A", "MI300X", "MI308X", "MI325X"}
OF_AMD = {"AMD", "INSTINCT", "RADEON"}
# Words in the names of devices that are slower than their other words say: a fraction
# of a device, or another device.
OTHER_DEVICE = {"MIG", "LAPTOP", "MAX", "D", "TI"}


def find_gpu(name: str) -> Gpu | None:
    """Return a GPU by the name that torch or a person gives it; None if not known.

    Args:
        name: Such as "NVIDIA H100 80GB HBM3", or H100.
    """
    words = words_of(name)
    found = [known for known in GPUS if words.issuperset(known.split())]
    if not found or words & OTHER_DEVICE:
        return None
    return GPUS[max(found, key=lambda known: len(known.split()))]


def lacks_bf16(name: str) -> bool:
    """Return whether a GPU is known to emulate bf16 only."""
    words = words_of(name)
    return bool(WITHOUT_BF16 & words) and not WITH_BF16 & words


def workspace_bytes(name: str | None) -> int:
    """Return the bytes of a workspace of cuBLAS on a GPU.

    Args:
        name: Name of the GPU, or of a part of one; if it is not given, the GPU may be
            one that has large ones.
    """
    if name is None:
        return LARGE_WORKSPACE
    words = words_of(name)
    if words & MI300:
        return MI300_WORKSPACE
    is_instinct = any(re.fullmatch(r"MI\d+[AX]?", word) for word in words)
    if is_instinct or words & OF_AMD or words & HOPPER_AND_LATER:
        return LARGE_WORKSPACE
    return WORKSPACE


def words_of(name: str) -> set[str]:
    """Return the words of a GPU's name."""
    return set(re.split(r"[\s/-]+", name.upper()))
