"""A user's DeepSpeed config, checked and taken into the settings and the plan."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from retune.artifacts.plan import Decision, Plan, PlanValue
from retune.linting.finding import Finding
from retune.planning.given_config import SCHEDULE, GivenConfig, read_given
from retune.planning.given_findings import all_findings, possible_stages
from retune.planning.given_keys import ROUND_ROBIN, SCHEDULES, has_effect
from retune.planning.given_settings import (
    ACCUMULATION,
    Taken,
    accumulation_dtype,
    contradictions,
    taken_settings,
)
from retune.planning.hardware import Hardware, resolve_hardware
from retune.planning.memory import can_accumulate_in_fp32
from retune.planning.strategy import SET, choose_precision, refuse
from retune.settings import (
    ConfigureSettings,
    HardwareSettings,
    Params,
    Precision,
    default_of,
    problems_across,
    schedule_problems,
)
from retune.settings.rules import Strategy, WrongKeyError


@dataclass(frozen=True)
class GivenPlan:
    """What a user's DeepSpeed config makes of the settings.

    Attributes:
        given: The config.
        settings: The `configure` section with what the config decides.
        taken: Settings that the config decides, by their names.
        problems: What makes it impossible, a line each.
        warnings: What in it is hardly meant.
    """

    given: GivenConfig
    settings: ConfigureSettings
    taken: Mapping[str, Taken]
    problems: tuple[str, ...]
    warnings: tuple[Finding, ...]

    def in_plan(self, plan: Plan) -> Plan:
        """Return a plan with what only a DeepSpeed config says of it."""
        schedule = self.given.schedule
        round_robin = self.given.value(ROUND_ROBIN) or False
        values = {
            "grad_accum_dtype": accumulation_dtype(self.given),
            "lr_scheduler_type": schedule,
            "round_robin_gradients": round_robin and has_effect(ROUND_ROBIN, plan),
        }
        return plan.model_copy(update=values)

    def problem(self, plan: Plan) -> str:
        """Return why a plan cannot add gradients up in the type that the config says.

        Nothing if it can, or the config says none.
        """
        dtype = accumulation_dtype(self.given)
        problem = accumulation_problem(dtype, plan) if dtype else ""
        return f"{self.given.where(ACCUMULATION)}: {problem}" if problem else ""

    def decisions(
        self, decisions: list[Decision[PlanValue]]
    ) -> list[Decision[PlanValue]]:
        """Return decisions that say what the DeepSpeed config decided of them."""
        return [
            Decision(each.setting, each.value, self.why(each)) for each in decisions
        ]

    def why(self, decision: Decision[PlanValue]) -> str:
        """Return the reason for a value of the plan."""
        taken = self.taken.get(decision.setting)
        if taken is None:
            return decision.why
        told = f"set in {self.given.origin(taken.key)} ({taken.key})"
        return decision.why.replace(SET, told) if SET in decision.why else told

    def in_words(self, num_auto: int) -> str:
        """Return what the plan is made by, for people.

        Args:
            num_auto: Number of keys that were "auto".
        """
        filled = f', {num_auto} "auto" filled in' if num_auto else ""
        return f"by {self.given.name}{filled}"

    def told(self, problems: str) -> str:
        """Return lines on settings, with the keys that decided these."""
        return "\n".join(map(self.with_keys, problems.splitlines()))

    def with_keys(self, line: str) -> str:
        """Return a line on settings, with the keys that decided these."""
        keys = [
            self.given.where(found.key)
            for setting, found in self.taken.items()
            if setting in line
        ]
        return f"{line} ({', '.join(keys)})" if keys else line


def check_given(params: Params) -> None:
    """Raise RetuneError, with all of it, if a user's DeepSpeed config is wrong.

    That is what can be said before any step has run: of machines that params.yaml
    describes, all but what depends on the model.

    Raises:
        RetuneError: Naming each key that is wrong, unknown or without effect, or that
            says another thing than params.yaml.
    """
    refuse(given_problems(params.configure, params.hardware, dict(params)))


def given_problems(
    settings: ConfigureSettings,
    hardware: HardwareSettings,
    sections: Mapping[str, Any],
) -> list[str]:
    """Return what `check_given` refuses, a line each.

    Args:
        settings: The `configure` section, as params.yaml has it.
        hardware: The `hardware` section.
        sections: All sections of params.yaml that are right, or what is right of them.

    Raises:
        RetuneError: If the file is missing, cannot be read or holds no config.
    """
    if (given := read_given(settings)) is None:
        return []
    machines = described_machines(hardware)
    precisions = possible_precisions(machines)
    is_set = settings.model_fields_set.__contains__
    found = take(given, settings, machines, precisions, is_set)
    lines = list(found.problems)
    if given.schedule in SCHEDULES and "finetune" in sections:
        name = given.where(SCHEDULE)
        with suppress(WrongKeyError):
            lines += schedule_problems(given.schedule, sections["finetune"], name)
    if not lines:
        problems = problems_across({**sections, "configure": found.settings})
        lines = [found.with_keys(line) for line in problems]
    return lines


def described_machines(hardware: HardwareSettings) -> Hardware | None:
    """Return the machines that params.yaml describes; None if it leaves them open."""
    accelerator, ranks = hardware.accelerator, hardware.ranks_per_node
    if accelerator == "auto" or ranks == "auto":
        return None
    return Hardware(accelerator, hardware.nodes, ranks, None, None)


def possible_precisions(machines: Hardware | None) -> list[Precision]:
    """Return the precisions that `auto` may be; which, depends on the GPU."""
    if machines is None or machines.accelerator == "cpu":
        return ["fp32"]
    return ["bf16", "fp32"]


def take_given(
    settings: ConfigureSettings, hardware: HardwareSettings
) -> GivenPlan | None:
    """Return what the user's DeepSpeed config decides; None if there is none.

    Args:
        settings: The `configure` section.
        hardware: The `hardware` section.

    Raises:
        RetuneError: If the config cannot be read, or the GPUs cannot be counted.
    """
    if (given := read_given(settings)) is None:
        return None
    machines = resolve_hardware(hardware)
    auto = choose_precision(ConfigureSettings(), machines).value
    # What was left out of params.yaml has its default here.
    return take(
        *(given, settings, machines, [auto]),
        lambda key: getattr(settings, key) != default_of(settings, key),
    )


def take(
    given: GivenConfig,
    settings: ConfigureSettings,
    machines: Hardware | None,
    precisions: Sequence[Precision],
    is_set: Callable[[str], bool],
) -> GivenPlan:
    """Return what a DeepSpeed config decides, and what is wrong with it.

    Args:
        given: The config.
        settings: The `configure` section.
        machines: The machines; None if they are not known.
        precisions: Those that `precision: auto` may be.
        is_set: Whether params.yaml sets a setting of that name.
    """
    ranks = None
    if machines:
        ranks = max(1, machines.world_size // settings.pipeline_stages)
    taken = taken_settings(given, settings, ranks)
    values = {setting: found.value for setting, found in taken.items()}
    made = settings.model_copy(update=values)
    if made.precision != "auto":
        precisions = [made.precision]
    findings = all_findings(given, made, machines, precisions)
    errors = [each for each in findings if each.severity == "error"]
    warnings = [each for each in findings if each.severity == "warning"]
    lines = [given.in_words(each) for each in errors]
    dtype = accumulation_dtype(given)
    if dtype and ACCUMULATION not in {each.key for each in errors}:
        problem = early_accumulation_problem(dtype, made, precisions)
        lines += [f"{given.where(ACCUMULATION)}: {problem}"] if problem else []
    lines += contradictions(given, settings, taken, is_set)
    if lines:
        lines += [f"{given.in_words(each)} (a warning)" for each in warnings]
    return GivenPlan(given, made, taken, tuple(lines), tuple(warnings))


def accumulation_problem(dtype: Precision, strategy: Strategy) -> str:
    """Return why gradients cannot be added up in a type; nothing if they can."""
    if dtype == strategy.precision:
        return ""
    if dtype == "fp32" and can_accumulate_in_fp32(strategy):
        return ""
    return (
        f"{dtype}, but gradients in {strategy.precision} are added up in"
        f" {strategy.precision} with zero_stage {strategy.zero_stage} and"
        f" offload_optimizer {strategy.offload_optimizer} (fp32 goes with bf16, stages"
        " 2 and 3, and none); delete it"
    )


def early_accumulation_problem(
    dtype: Precision, settings: ConfigureSettings, precisions: Sequence[Precision]
) -> str:
    """Return why gradients cannot be added up in a type, whatever the plan will be.

    Args:
        dtype: The type.
        settings: The `configure` section with what the DeepSpeed config decides.
        precisions: Those that the plan may have.
    """
    offloads = settings.offload_optimizer
    devices = ["none", "cpu"] if offloads == "auto" else [offloads]
    found = [
        accumulation_problem(
            dtype,
            settings.model_copy(
                update={
                    **{"precision": precision, "zero_stage": stage},
                    "offload_optimizer": device,
                }
            ),
        )
        for precision in precisions
        for stage in possible_stages(settings)
        for device in devices
    ]
    return found[0] if all(found) else ""
