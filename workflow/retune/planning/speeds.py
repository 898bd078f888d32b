"""How fast machines compute and move bytes: declared, known, or assumed."""

from dataclasses import dataclass

from retune.planning.gpus import GPUS, find_gpu
from retune.planning.hardware import Hardware
from retune.settings import Precision

GIGA, TERA = 1e9, 1e12
# Shares of what data sheets promise that kernels reach. Copies in the memory of an H200
# ran at 0.90 of it. Matrix products of 8,192 x 8,192 in bf16 ran at 0.80 there, which
# those of a model seldom reach; with 0.7 the trainings of benchmarks/published.md come
# out right in the middle.
PRODUCTS_SHARE, MEMORY_SHARE = 0.7, 0.9
# Where nothing is declared: a GPU, and GB/s of a node's network (200 Gbit/s), of its
# NVMe disks and of its main memory.
ASSUMED_GPU = "A100"
NETWORK, NVME, MAIN_MEMORY = 25.0, 3.0, 100.0


@dataclass(frozen=True)
class Speeds:
    """What a step's time is predicted from; bandwidths are bytes/s, each way.

    Attributes:
        products: FLOP/s of matrix products on one GPU.
        memory: Of the memory of one GPU.
        link: Between a GPU and the others of its node.
        host: Between a GPU and main memory.
        network: Of a node, to all others together.
        nvme: Of the NVMe disks of a node together.
        main_memory: Of the main memory of a node.
        assumed: What of it was neither declared nor known, in words.
    """

    products: float
    memory: float
    link: float
    host: float
    network: float
    nvme: float
    main_memory: float
    assumed: tuple[str, ...]


def speeds_of(hardware: Hardware, precision: Precision) -> Speeds:
    """Return the speeds of GPUs.

    Args:
        hardware: The machines.
        precision: What matrix products are computed in.
    """
    assumed = []
    gpu = find_gpu(hardware.gpu_name) if hardware.gpu_name else None
    if gpu is None:
        gpu = GPUS[ASSUMED_GPU]
        named = hardware.gpu_name or "not given (hardware.gpu_name)"
        assumed.append(
            f"the GPU is {named} and taken to be as fast as an {ASSUMED_GPU}"
        )
    tflops = gpu.single if precision == "fp32" else gpu.half
    if tflops is None:
        tflops = gpu.half / 4
    network, nvme = hardware.network_gb_per_s, hardware.nvme_gb_per_s
    if network is None and hardware.nodes > 1:
        assumed.append(f"the network of a node moves {NETWORK:g} GB/s each way")
    return Speeds(
        products=PRODUCTS_SHARE * tflops * TERA,
        memory=MEMORY_SHARE * gpu.memory * GIGA,
        link=(hardware.link_gb_per_s or gpu.link) * GIGA,
        host=gpu.host * GIGA,
        network=(network or NETWORK) * GIGA,
        nvme=(nvme or NVME) * GIGA,
        main_memory=MAIN_MEMORY * GIGA,
        assumed=tuple(assumed),
    )
