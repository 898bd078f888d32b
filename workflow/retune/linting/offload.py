"""The findings in offloading to main memory or NVMe."""

from collections.abc import Iterator

from retune.linting.finding import Finding, error, warning
from retune.linting.optimizer import makes_cpu_adam
from retune.linting.read_config import MISSING, ReadConfig

PARTS = ("param", "optimizer")


def offloads(config: ReadConfig) -> Iterator[Finding]:
    """Yield what is wrong with offload_param and offload_optimizer."""
    for part in PARTS:
        key = f"zero_optimization.offload_{part}"
        device = config.offloads(part)
        if device == "none":
            yield from without_device(config, key)
            continue
        if part == "param" and config.stage < 3:
            happens = f"ignored at stage {config.stage}: the parameters stay on the GPU"
            yield error(key, happens, 'delete it, or write "stage": 3')
        elif part == "optimizer" and config.stage == 0:
            happens = "ignored at stage 0: the optimizer stays on the GPU"
            yield error(key, happens, 'write "stage": 1, 2 or 3')
        else:
            yield from of_disk(config, key, part, device)
    yield from of_optimizer(config)


def without_device(config: ReadConfig, key: str) -> Iterator[Finding]:
    """Yield that a section which does not say where to offload has no effect."""
    if config.section(key) and not config.given(f"{key}.device"):
        happens = 'without "device" nothing is offloaded'
        yield warning(key, happens, 'write "device": "cpu" in it, or delete it')


def of_disk(config: ReadConfig, key: str, part: str, device: str) -> Iterator[Finding]:
    """Yield what is wrong with offloading to NVMe."""
    path = config.as_written(f"{key}.nvme_path")
    has_path = path is not MISSING and path is not None and path != "auto"
    if device == "nvme" and config.stage < 3:
        happens = f"not at stage {config.stage}: DeepSpeed offloads to main memory"
        yield error(f"{key}.device", happens, 'write "cpu", or "stage": 3')
    elif device == "nvme" and not has_path:
        happens = "missing: DeepSpeed stops without a folder on the disk"
        yield error(f"{key}.nvme_path", happens, "write the path of a folder")
    elif device != "nvme" and has_path:
        happens = f'ignored while "device" is "{device}"'
        yield warning(
            f"{key}.nvme_path", happens, 'delete it, or write "device": "nvme"'
        )


def of_optimizer(config: ReadConfig) -> Iterator[Finding]:
    """Yield what is wrong with options of offload_optimizer."""
    key = "zero_optimization.offload_optimizer"
    is_part = config.value(f"{key}.ratio") < 1
    is_offloaded = config.offloads("optimizer") != "none"
    # DeepSpeed refuses it for device "none", too.
    if is_part and config.stage < 3:
        happens = f"DeepSpeed refuses a part below 1 at stage {config.stage}"
        yield error(f"{key}.ratio", happens, 'write 1, or "stage": 3')
    elif is_part and is_offloaded and not makes_cpu_adam(config):
        happens = "DeepSpeed refuses a part below 1 without its own CPU Adam"
        yield error(f"{key}.ratio", happens, "write 1, or take AdamW")
    if config.value(f"{key}.super_offload"):
        if config.stage < 3:
            happens = f"ignored at stage {config.stage}"
            yield warning(f"{key}.super_offload", happens, "delete it")
        elif config.training.accelerator == "cpu":
            happens = "DeepSpeed refuses it on CPUs"
            yield error(f"{key}.super_offload", happens, "write false")
