"""Whether `configure` can make a plan of the settings, and what is doubtful in it."""

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from retune.artifacts.plan import Plan
from retune.checking.base_model import BaseModel
from retune.checking.outcome import Outcome, failed, not_checked
from retune.checking.sections import Sections
from retune.checking.tokens import TrainingSequences
from retune.errors import RetuneError
from retune.linting.finding import Training
from retune.linting.lint import lint
from retune.planning.deepspeed_config import deepspeed_config
from retune.planning.explanation import plan_line
from retune.planning.hardware import Hardware, resolve_hardware
from retune.settings import (
    ConfigureSettings,
    FinetuneSettings,
    HardwareSettings,
    TrainedWeightsSettings,
    problems_across,
)
from retune.settings.rules import WrongKeyError
from retune.steps.configure import (
    batch_warnings,
    check_cpu_memory,
    memory_of,
    memory_warnings,
    plan_of,
    warnings_4bit,
)
from retune.steps.finetune import check_adapters

# Sections that the plan is made of.
SECTIONS = "hardware", "configure", "finetune"


@dataclass(frozen=True)
class PlannedTraining:
    """The plan, and the machines that it is for."""

    plan: Plan
    machines: Hardware


def check_plan(
    sections: Sections, base: BaseModel | None, sequences: TrainingSequences | None
) -> tuple[PlannedTraining | None, Outcome]:
    """Return the plan that `configure` would make, and what is wrong with it.

    Args:
        sections: The sections of params.yaml.
        base: The base model; None if it is not known.
        sequences: The training sequences; None if they are not known.

    Returns:
        The plan; None if it cannot be made.
    """
    configure = sections.whole(ConfigureSettings)
    hardware = sections.whole(HardwareSettings)
    trained = None
    with suppress(WrongKeyError):
        trained = TrainedWeightsSettings.part_of(sections.part(FinetuneSettings))
    if not (configure and hardware and trained):
        return None, not_checked("a section that decides it has an error")
    if problems_across(sections.of(*SECTIONS)):
        return None, not_checked("its settings do not go together")
    if base is None or sequences is None:
        what = "the model" if base is None else "the sequence length"
        return None, not_checked(f"it needs {what}")
    errors: list[RetuneError] = []
    blocks = sequences.blocks
    try:
        check_adapters(trained, base.facts)
    except RetuneError as error:
        errors.append(error)
    try:
        machines = resolve_hardware(hardware)
        plan, _, skeleton = plan_of(
            *(configure, trained, machines, base.folder, base.facts),
            *(sequences.length, blocks or 0),
        )
        check_cpu_memory(plan, machines)
    except RetuneError as error:
        return None, failed(*errors, error)
    warnings = [] if blocks is None else batch_warnings(plan.global_batch_size, blocks)
    memory = memory_of(plan, skeleton)
    warnings += warnings_4bit(plan) + memory_warnings(plan, memory, machines)
    planned = PlannedTraining(plan, machines)
    return planned, Outcome(plan_line(plan), tuple(map(str, errors)), tuple(warnings))


def check_deepspeed_config(plan: Plan, nvme_path: str | None) -> Outcome:
    """Return what DeepSpeed would not do as the config of a plan says.

    Args:
        plan: The plan.
        nvme_path: Folder on a fast local disk, if there is one.
    """
    config: dict[str, Any] = deepspeed_config(plan)
    zero = config["zero_optimization"]
    for section in ("offload_optimizer", "offload_param"):
        # As `finetune` adds it.
        if zero.get(section, {}).get("device") == "nvme":
            zero[section]["nvme_path"] = nvme_path
    training = Training(
        plan.world_size, plan.accelerator, model_parallel=plan.pipeline_stages
    )
    findings = lint(config, training)
    texts = {
        severity: tuple(
            f"deepspeed.json: {found.key}: {found.happens}; {found.mend}"
            for found in findings
            if found.severity == severity
        )
        for severity in ("error", "warning")
    }
    return Outcome(
        f"{len(config)} keys, as DeepSpeed 0.19 reads them",
        texts["error"],
        texts["warning"],
    )
