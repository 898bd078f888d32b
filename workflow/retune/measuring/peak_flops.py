"""The FLOP/s that the data sheets of GPUs promise, and the fraction that is used."""

from retune.planning.gpus import find_gpu, lacks_bf16


def peak_flops(device_name: str, precision: str) -> float | None:
    """Return the peak FLOP/s of a device, without sparsity.

    Args:
        device_name: Name that torch has for it, such as "NVIDIA H100 80GB HBM3".
        precision: fp32, bf16 or fp16.

    Returns:
        None where the peak is not known, as for CPUs.
    """
    gpu = find_gpu(device_name)
    if gpu is None or (precision == "bf16" and lacks_bf16(device_name)):
        return None
    tflops = gpu.single if precision == "fp32" else gpu.half
    return None if tflops is None else tflops * 1e12


def utilisation(
    flops_per_token: float | None,
    tokens_per_second: float,
    device_flops: float | None,
    world_size: int,
) -> float | None:
    """Return the model FLOPs utilisation (PaLM, 2022, appendix B), from 0 to 1.

    Args:
        flops_per_token: FLOPs of a training step per token (see
            `model_flops_per_token`); None if not known.
        tokens_per_second: Tokens that the model sees per second, over all ranks.
        device_flops: Peak FLOP/s of one rank's device; None if not known.
        world_size: Number of ranks.

    Returns:
        None where one of the FLOP counts is not known.
    """
    if flops_per_token is None or device_flops is None:
        return None
    return flops_per_token * tokens_per_second / (device_flops * world_size)
