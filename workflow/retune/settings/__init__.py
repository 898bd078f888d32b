"""Typed view of params.yaml: one frozen model per section, each in a file of its name.

Types, defaults, bounds and descriptions live here and nowhere else; the JSON
schema and the tables of config/README.md are generated from them (manual.py).
"""

from typing import Any

from pydantic import model_validator

from retune.settings.across import (
    PartOfSection,
    fp16_problems,
    problems_across,
    split_problems,
)
from retune.settings.configure import ConfigureSettings
from retune.settings.consolidate import ConsolidateSettings
from retune.settings.dataset import (
    DATASET_PRESETS,
    HELD_OUT,
    SPLITS,
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
    "HELD_OUT",
    "HardwareSettings",
    "LoraSettings",
    "MODEL_PRESETS",
    "ModelSettings",
    "Params",
    "PartOfSection",
    "PrepareSettings",
    "SPLITS",
    "Settings",
    "Split",
    "TokenizeSettings",
    "default_of",
    "fp16_problems",
    "problems_across",
    "split_problems",
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

    @model_validator(mode="before")
    @classmethod
    def _leave_out_what_says_nothing(cls, values: Any) -> Any:
        """Let a section whose keys are all commented out be as one not written."""
        if not isinstance(values, dict):
            return values
        return {
            name: section
            for name, section in values.items()
            if section is not None or name not in cls.model_fields
        }

    @model_validator(mode="after")
    def _check_across_sections(self) -> "Params":
        if problems := problems_across(dict(self)):
            raise ValueError("\n".join(problems))
        return self
