"""Typed view of params.yaml: one frozen model per section, each in a file of its name.

Types, defaults, bounds and descriptions live here and nowhere else; the JSON
schema and the tables of config/README.md are generated from them
(`python -m retune_workflow manual`).
"""

from typing import Any

from pydantic import model_validator

from retune.settings.configure import (
    ActivationCheckpointing,
    ConfigureSettings,
    Offload,
    Optim,
    Precision,
)
from retune.settings.consolidate import ConsolidateSettings
from retune.settings.dataset import (
    DATASET_PRESETS,
    HELD_OUT,
    SPLITS,
    DatasetSettings,
    SourceSettings,
    Split,
)
from retune.settings.evaluate import (
    EvaluateSettings,
    PrecisionSettings,
    ScoringSettings,
)
from retune.settings.finetune import (
    FinetuneSettings,
    LoraSettings,
    TrainedWeightsSettings,
)
from retune.settings.hardware import Accelerator, HardwareSettings
from retune.settings.model import MODEL_PRESETS, ModelSettings
from retune.settings.prepare import PrepareSettings
from retune.settings.report import ReportSettings
from retune.settings.rules import (
    PartOfSection,
    cpu_kernel_problems,
    four_bit_problems,
    fp16_problems,
    problems_across,
    schedule_problems,
    split_problems,
    strategy_problems,
    swap_problems,
)
from retune.settings.sample import SampleSettings
from retune.settings.section import Dtype, Settings, default_of
from retune.settings.tokenize import TokenizeSettings

__all__ = [
    "Accelerator",
    "ActivationCheckpointing",
    "ConfigureSettings",
    "ConsolidateSettings",
    "DATASET_PRESETS",
    "DatasetSettings",
    "Dtype",
    "EvaluateSettings",
    "FinetuneSettings",
    "HELD_OUT",
    "HardwareSettings",
    "LoraSettings",
    "MODEL_PRESETS",
    "ModelSettings",
    "Offload",
    "Optim",
    "Params",
    "PartOfSection",
    "Precision",
    "PrecisionSettings",
    "PrepareSettings",
    "ReportSettings",
    "RunSettings",
    "SPLITS",
    "SampleSettings",
    "ScoringSettings",
    "Settings",
    "SourceSettings",
    "Split",
    "TokenizeSettings",
    "TrainedWeightsSettings",
    "cpu_kernel_problems",
    "default_of",
    "four_bit_problems",
    "fp16_problems",
    "problems_across",
    "schedule_problems",
    "split_problems",
    "strategy_problems",
    "swap_problems",
]


class RunSettings(Settings):
    """What decides the tuned model, and what is measured of it: all but `report`."""

    dataset: DatasetSettings
    model: ModelSettings
    hardware: HardwareSettings = HardwareSettings()
    prepare: PrepareSettings = PrepareSettings()
    tokenize: TokenizeSettings = TokenizeSettings()
    configure: ConfigureSettings = ConfigureSettings()
    finetune: FinetuneSettings = FinetuneSettings()
    consolidate: ConsolidateSettings = ConsolidateSettings()
    evaluate: EvaluateSettings = EvaluateSettings()
    sample: SampleSettings = SampleSettings()

    def decisive(self) -> dict[str, Any]:
        """Return the settings that decide a result, by section, as JSON has them."""
        return {name: section.decisive() for name, section in self}

    def operational(self) -> dict[str, Any]:
        """Return the settings that decide no result, by section, as JSON has them."""
        return {name: section.operational() for name, section in self}

    @model_validator(mode="before")
    @classmethod
    def _drop_empty_sections(cls, values: Any) -> Any:
        """Drop sections without a value, whose keys are all commented out."""
        if not isinstance(values, dict):
            return values
        return {
            name: section
            for name, section in values.items()
            if section is not None or name not in cls.model_fields
        }


class Params(RunSettings):
    """All of params.yaml."""

    report: ReportSettings = ReportSettings()
