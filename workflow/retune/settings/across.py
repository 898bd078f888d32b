"""What sections of params.yaml make impossible together; each rule stands here once.

`configure` uses those again for what `auto` became.
"""

from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from retune.settings.configure import ConfigureSettings
from retune.settings.finetune import FinetuneSettings
from retune.settings.hardware import HardwareSettings
from retune.settings.section import Settings


@dataclass(frozen=True)
class Rule:
    """A rule between sections.

    Attributes:
        sections: Their names, in the order of the arguments of `problems`.
        problems: Returns what is wrong, a line each.
    """

    sections: tuple[str, ...]
    problems: Callable[..., list[str]]


class WrongKeyError(Exception):
    """A rule asked for a key whose value is wrong."""


class PartOfSection:
    """What is right of a section in which some keys are wrong."""

    def __init__(self, settings: Settings, wrong: Collection[str]) -> None:
        """Take a section in which the wrong keys have their defaults."""
        self._settings = settings
        self._wrong = wrong

    def __getattr__(self, key: str) -> Any:
        """Return the value of a key that is right."""
        if key in self._wrong:
            raise WrongKeyError(key)
        return getattr(self._settings, key)


def problems_across(sections: Mapping[str, Settings | PartOfSection]) -> list[str]:
    """Return what these sections make impossible together, a line each.

    Args:
        sections: By name. Rules of others, and of wrong keys, are passed over.
    """
    problems = []
    for rule in RULES:
        if sections.keys() >= set(rule.sections):
            with suppress(WrongKeyError):
                problems += rule.problems(*(sections[name] for name in rule.sections))
    return problems


def batch_problems(
    hardware: HardwareSettings, configure: ConfigureSettings
) -> list[str]:
    """Return why the ranks that are known cannot share stages and batch."""
    if hardware.gpus_per_node == "auto":
        return []
    ranks = hardware.nodes * hardware.gpus_per_node
    micro = configure.micro_batch_size
    return split_problems(configure, ranks, 1 if micro == "auto" else micro, micro)


def split_problems(
    configure: ConfigureSettings, ranks: int, micro: int, shown: Any
) -> list[str]:
    """Return why ranks cannot share the pipeline's stages and the global batch.

    Args:
        configure: The section.
        ranks: Their number.
        micro: Sequences per rank and pass, at least.
        shown: What the message calls that.
    """
    stages = configure.pipeline_stages
    if ranks % stages:
        return [
            f"configure.pipeline_stages: {stages}, but {ranks} ranks are not a"
            " multiple of it"
        ]
    shares, batch = ranks // stages, configure.global_batch_size
    per_pass = shares * micro
    if batch % per_pass == 0:
        return []
    nearest = max(1, round(batch / per_pass)) * per_pass
    counted = "ranks" if stages == 1 else "ranks / pipeline_stages"
    return [
        f"configure.global_batch_size: {batch} is not a multiple of {counted} x"
        f" micro_batch_size ({shares} x {shown}); {nearest} would be"
    ]


def nvme_problems(
    hardware: HardwareSettings, configure: ConfigureSettings
) -> list[str]:
    """Return what has nowhere to be offloaded to."""
    return [
        f"configure.{key}: nvme needs hardware.nvme_path, a folder on a fast local disk"
        for key in ("offload_optimizer", "offload_param")
        if getattr(configure, key) == "nvme" and not hardware.nvme_path
    ]


def precision_problems(
    hardware: HardwareSettings, configure: ConfigureSettings
) -> list[str]:
    """Return why the precision is none of the accelerator's."""
    return fp16_problems(hardware.accelerator, configure.precision)


def fp16_problems(accelerator: str, precision: str) -> list[str]:
    """Return why fp16 cannot be trained in, if it cannot."""
    if accelerator != "cpu" or precision != "fp16":
        return []
    return [
        "configure.precision: fp16, but the ranks are CPUs (hardware.accelerator):"
        " DeepSpeed has no fp16 there; write fp32 or bf16"
    ]


def lora_problems(
    configure: ConfigureSettings, finetune: FinetuneSettings
) -> list[str]:
    """Return why adapters cannot be trained in a pipeline."""
    stages = configure.pipeline_stages
    if not finetune.lora or stages == 1:
        return []
    return [f"finetune.lora goes with configure.pipeline_stages: 1, not {stages}"]


RULES = (
    Rule(("hardware", "configure"), batch_problems),
    Rule(("hardware", "configure"), nvme_problems),
    Rule(("hardware", "configure"), precision_problems),
    Rule(("configure", "finetune"), lora_problems),
)
