"""Whether `configure` can make a plan of the settings, and what is doubtful in it."""

from contextlib import suppress
from copy import deepcopy

from retune.checking.base_model import BaseModel
from retune.checking.outcome import Outcome, failed, not_checked
from retune.checking.sections import Sections
from retune.checking.tokens import TrainingSequences
from retune.errors import RetuneError
from retune.linting.finding import Training
from retune.linting.lint import lint
from retune.planning.explanation import plan_line
from retune.planning.given_plan import given_problems, take_given
from retune.planning.hardware import resolve_hardware
from retune.planning.strategy import refuse
from retune.settings import (
    ConfigureSettings,
    FinetuneSettings,
    HardwareSettings,
    TrainedWeightsSettings,
    problems_across,
)
from retune.settings.rules import WrongKeyError
from retune.steps.configure import PlannedTraining, plan_training
from retune.steps.finetune import check_adapters

# Sections that the plan is made of.
SECTIONS = "hardware", "configure", "finetune"


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
    errors: list[RetuneError] = []
    try:
        refuse(given_problems(configure, hardware, sections.of(*SECTIONS)))
    except RetuneError as error:
        errors.append(error)
    if errors and (base is None or sequences is None):
        return None, failed(*errors)
    if base is None or sequences is None:
        what = "the model" if base is None else "the sequence length"
        return None, not_checked(f"it needs {what}")
    is_given_well = not errors
    try:
        check_adapters(trained, base.facts)
    except RetuneError as error:
        errors.append(error)
    if not is_given_well:
        return None, failed(*errors)
    try:
        if given := take_given(configure, hardware):
            refuse(list(given.problems))
            configure = given.settings
        planned = plan_training(
            *(configure, trained, resolve_hardware(hardware), base.folder, base.facts),
            *((sequences.length, sequences.blocks or 0), given),
        )
    except RetuneError as error:
        return None, failed(*errors, error)
    found = plan_line(planned.plan)
    return planned, Outcome(found, tuple(map(str, errors)), planned.warnings)


def check_deepspeed_config(planned: PlannedTraining) -> Outcome:
    """Return what DeepSpeed would not do as the config of a plan says.

    Args:
        planned: The plan, with the config.
    """
    plan, config = planned.plan, deepcopy(dict(planned.config.values))
    zero = config["zero_optimization"]
    for section in ("offload_optimizer", "offload_param"):
        # `finetune` adds the folder, and the check of NVMe tells where it is missing.
        if zero.get(section, {}).get("device") == "nvme":
            zero[section]["nvme_path"] = "hardware.nvme_path"
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
