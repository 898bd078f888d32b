"""Typed view of params.yaml: one frozen model per section, each in a file of its name.

Types, defaults, bounds and descriptions live here and nowhere else; the JSON
schema and the tables of config/README.md are generated from them (manual.py).
"""

from pydantic import model_validator

from retune.settings.configure import ConfigureSettings
from retune.settings.consolidate import ConsolidateSettings
from retune.settings.dataset import (
    DATASET_PRESETS,
    SPLITS,
    TEXT_FORMATS,
    DatasetSettings,
    Split,
)
from retune.settings.evaluate import EvaluateSettings
from retune.settings.finetune import FinetuneSettings, LoraSettings
from retune.settings.hardware import HardwareSettings
from retune.settings.model import MODEL_PRESETS, ModelSettings
from retune.settings.prepare import PrepareSettings
from retune.settings.section import Settings, default_of
from retune.settings.tokenize import TokenizeSettings

__all__ = [
    "ConfigureSettings",
    "ConsolidateSettings",
    "DATASET_PRESETS",
    "DatasetSettings",
    "EvaluateSettings",
    "FinetuneSettings",
    "HardwareSettings",
    "LoraSettings",
    "MODEL_PRESETS",
    "ModelSettings",
    "Params",
    "PrepareSettings",
    "SPLITS",
    "TEXT_FORMATS",
    "Settings",
    "Split",
    "TokenizeSettings",
    "default_of",
    "problems_across",
]


class Params(Settings):
    """All of params.yaml."""

    dataset: DatasetSettings
    model: ModelSettings
    hardware: HardwareSettings = HardwareSettings()
    prepare: PrepareSettings = PrepareSettings()
    tokenize: TokenizeSettings = TokenizeSettings()
    configure: ConfigureSettings = ConfigureSettings()
    finetune: FinetuneSettings = FinetuneSettings()
    consolidate: ConsolidateSettings = ConsolidateSettings()
    evaluate: EvaluateSettings = EvaluateSettings()

    @model_validator(mode="after")
    def _check_across_sections(self) -> "Params":
        problems = problems_across(self.hardware, self.configure)
        if self.finetune.lora and self.configure.pipeline_stages > 1:
            problems.append(
                "finetune.lora goes with configure.pipeline_stages: 1, not"
                f" {self.configure.pipeline_stages}"
            )
        if problems:
            raise ValueError("\n".join(problems))
        return self


def problems_across(
    hardware: HardwareSettings, configure: ConfigureSettings
) -> list[str]:
    """Return what two sections make impossible together, a line each."""
    problems = []
    ranks, micro = hardware.gpus_per_node, configure.micro_batch_size
    stages = configure.pipeline_stages
    if ranks != "auto":
        ranks *= hardware.nodes
        if ranks % stages:
            problems.append(
                f"configure.pipeline_stages: {stages}, but {ranks} ranks are not a"
                " multiple of it"
            )
            return problems
        ranks //= stages
        per_pass = ranks * (1 if micro == "auto" else micro)
        batch = configure.global_batch_size
        if batch % per_pass:
            nearest = max(1, round(batch / per_pass)) * per_pass
            counted = "ranks" if stages == 1 else "ranks / pipeline_stages"
            problems.append(
                f"configure.global_batch_size: {batch} is not a multiple of {counted} x"
                f" micro_batch_size ({ranks} x {micro}); {nearest} would be"
            )
    problems += [
        f"configure.{key}: nvme needs hardware.nvme_path, a folder on a fast local disk"
        for key in ("offload_optimizer", "offload_param")
        if getattr(configure, key) == "nvme" and not hardware.nvme_path
    ]
    if hardware.accelerator == "cpu" and configure.precision == "fp16":
        problems.append(
            "configure.precision: fp16, but hardware.accelerator is cpu: DeepSpeed has"
            " no fp16 there; write fp32 or bf16"
        )
    return problems
