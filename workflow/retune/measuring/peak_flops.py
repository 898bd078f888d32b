"""The FLOP/s that the data sheets of GPUs promise, and the fraction that is used."""

# Dense TFLOP/s of one device by the words of its name: first those of bf16 and fp16 on
# matrix units with fp32 accumulation, then those of fp32 without TF32, which torch does
# not use by default. They are from the makers' data sheets and white papers; NVIDIA's
# often print twice as much, for sparse matrices. None where no figure can be trusted.
PEAK_TFLOPS: dict[str, tuple[float, float | None]] = {
    "B200": (2250, 75),
    "GB200": (2500, 80),
    "GH200": (989, 67),
    "H200": (989, 67),
    "H200 NVL": (835, 60),
    "H100": (989, 67),
    "H100 NVL": (835, 60),
    "H100 PCIE": (756, 51),
    "A100": (312, 19.5),
    "A40": (149.7, 37.4),
    "A30": (165, 10.3),
    "A10": (125, 31.2),
    "A10G": (70, None),
    "L40S": (362, 91.6),
    "L40": (181, 90.5),
    "L4": (121, 30.3),
    "V100": (125, 15.7),
    "V100 PCIE": (112, 14),
    "T4": (65, 8.1),
    "RTX 3090": (71, 35.6),
    "RTX 4090": (165, 82.6),
    "MI300X": (1307, 163.4),
    # Half of the package, because torch takes each of its two dies for a device.
    "MI250X": (191.5, 23.9),
}
WITHOUT_BF16 = {"V100", "T4"}
# Words in the names of devices that are slower than their other words say: a fraction
# of a device, or another device.
OTHER_DEVICE = {"MIG", "LAPTOP", "MAX", "D", "TI"}


def peak_flops(device_name: str, precision: str) -> float | None:
    """Return the peak FLOP/s of a device, without sparsity.

    Args:
        device_name: Name that torch has for it, such as "NVIDIA H100 80GB HBM3".
        precision: fp32, bf16 or fp16.

    Returns:
        None where the peak is not known, as for CPUs.
    """
    words = set(device_name.upper().replace("-", " ").split())
    found = [name for name in PEAK_TFLOPS if words.issuperset(name.split())]
    if not found or words & OTHER_DEVICE:
        return None
    if precision == "bf16" and words & WITHOUT_BF16:
        return None
    half, single = PEAK_TFLOPS[max(found, key=lambda name: len(name.split()))]
    tflops = single if precision == "fp32" else half
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
