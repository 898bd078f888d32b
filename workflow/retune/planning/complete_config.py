"""The DeepSpeed config of a plan, completed from what the user gives of it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from retune.artifacts.plan import Decision, Plan, PlanValue
from retune.errors import RetuneError
from retune.linting.batch import MICRO, STEPS, TOTAL
from retune.linting.finding import Finding, Training
from retune.linting.lint import lint
from retune.linting.transformers_auto import BY_HIDDEN_SIZE
from retune.planning.deepspeed_config import deepspeed_config
from retune.planning.given_config import ZERO, GivenConfig, leaves, look_up
from retune.planning.given_findings import client_optimizer, to_lint
from retune.planning.given_keys import (
    OF_OPTIMIZER,
    OF_SCHEDULER,
    has_effect,
    kept_values,
)
from retune.planning.given_plan import GivenPlan
from retune.planning.given_settings import ACCUMULATION

# The setting that "auto" follows, by the key that has it.
FOLLOWS = {
    TOTAL: "global_batch_size",
    MICRO: "micro_batch_size",
    STEPS: "global_batch_size and micro_batch_size",
    "gradient_clipping": "configure.gradient_clipping",
    "fp16.enabled": "precision",
    "bf16.enabled": "precision",
    f"{ZERO}.stage": "zero_stage",
    f"{ZERO}.offload_optimizer.device": "configure.offload_optimizer",
    f"{ZERO}.offload_param.device": "configure.offload_param",
    **{f"optimizer.params.{name}": setting for name, setting in OF_OPTIMIZER.items()},
    **{f"scheduler.params.{name}": setting for name, setting in OF_SCHEDULER.items()},
    "scheduler.params.warmup_min_lr": "the schedule, which begins at 0",
    "scheduler.params.warmup_num_steps": "finetune.warmup_ratio or warmup_steps",
    "scheduler.params.total_num_steps": "finetune.epochs or max_steps",
}


@dataclass(frozen=True)
class CompleteConfig:
    """The DeepSpeed config of a plan.

    Attributes:
        values: What is written; no value is "auto".
        decisions: Its keys that the user gives, beside those of the plan.
        warnings: What in it is hardly meant, a line each.
        num_auto: Number of keys that are "auto" in the user's config.
    """

    values: dict[str, Any]
    decisions: Sequence[Decision[PlanValue]] = ()
    warnings: Sequence[str] = ()
    num_auto: int = 0


def complete_config(
    taken: GivenPlan, plan: Plan, hidden_size: Callable[[], int]
) -> CompleteConfig:
    """Return the DeepSpeed config of a plan that a user's config was taken into.

    Args:
        taken: The user's config, and what of it was taken.
        plan: The plan.
        hidden_size: Function that returns the hidden size of the model, which some
            "auto" follow.

    Raises:
        RetuneError: If the linter finds errors in it.
    """
    given = taken.given
    findings = config_findings(given, plan, hidden_size)
    if errors := [each for each in findings if each.severity == "error"]:
        raise RetuneError("\n".join(map(given.in_words, errors)))
    by_size = dict(of_hidden_size(given, plan, hidden_size))
    values = config_values(given, plan, hidden_size)
    decisions: list[Decision[PlanValue]] = []
    for key, value in kept_values(given):
        why = f"set in {given.origin(key)}"
        if not has_effect(key, plan):
            why += ": without effect here"
        decisions.append(Decision(key, value, why))
    if plan.grad_accum_dtype:
        why = f"set in {given.origin(ACCUMULATION)}"
        decisions.append(Decision(ACCUMULATION, plan.grad_accum_dtype, why))
    autos = [key for key, value in leaves(given.values) if value == "auto"]
    decisions += filled_in(given, autos, values, by_size)
    # The plan may say more of a key than could be said without it.
    keys = {each.key for each in findings}
    early = (each for each in taken.warnings if each.key not in keys)
    warnings = [given.in_words(each) for each in (*early, *findings)]
    return CompleteConfig(values, decisions, warnings, len(autos))


def config_values(
    given: GivenConfig, plan: Plan, hidden_size: Callable[[], int]
) -> dict[str, Any]:
    """Return the DeepSpeed config that is written for a plan.

    Args:
        given: The user's config.
        plan: The plan.
        hidden_size: Function that returns the hidden size of the model.
    """
    values = with_hidden_size(given, plan, hidden_size)
    for key, value in kept_values(given):
        if has_effect(key, plan):
            put(values, key, value)
    if plan.grad_accum_dtype:
        put(values, ACCUMULATION, plan.grad_accum_dtype)
    return values


def config_findings(
    given: GivenConfig, plan: Plan, hidden_size: Callable[[], int]
) -> list[Finding]:
    """Return what the linter finds in a user's config as a plan completes it.

    Args:
        given: The user's config.
        plan: The plan.
        hidden_size: Function that returns the hidden size of the model.
    """
    training = Training(
        gpus=plan.world_size,
        accelerator=plan.accelerator,
        client_optimizer=client_optimizer(plan),
        num_parameters=plan.num_parameters,
        model_parallel=plan.pipeline_stages,
    )
    base = with_hidden_size(given, plan, hidden_size)
    return lint(to_lint(given.values, base), training)


def with_hidden_size(
    given: GivenConfig, plan: Plan, hidden_size: Callable[[], int]
) -> dict[str, Any]:
    """Return the config of a plan with the "auto" that follow the hidden size."""
    values = deepspeed_config(plan)
    for key, value in of_hidden_size(given, plan, hidden_size):
        put(values, key, value)
    return values


def of_hidden_size(
    given: GivenConfig, plan: Plan, hidden_size: Callable[[], int]
) -> Iterator[tuple[str, int]]:
    """Yield the "auto" that Transformers fills in by the hidden size of the model.

    Args:
        given: The user's config.
        plan: The plan.
        hidden_size: Function that returns that size.
    """
    for key in BY_HIDDEN_SIZE:
        if look_up(given.values, key) == "auto" and has_effect(key, plan):
            size = hidden_size()
            values = dict(
                zip(
                    BY_HIDDEN_SIZE,
                    (size * size, int(0.9 * size * size), 10 * size),
                    strict=True,
                )
            )
            yield key, values[key]


def filled_in(
    given: GivenConfig,
    autos: list[str],
    values: Mapping[str, Any],
    by_size: Mapping[str, int],
) -> Iterator[Decision[PlanValue]]:
    """Yield what became of each "auto".

    Args:
        given: The user's config.
        autos: Full names of the keys that are "auto" in it.
        values: The config that is written.
        by_size: Those that follow the hidden size, with their values.
    """
    for key in autos:
        told = f'"auto" in {given.origin(key)}'
        value = look_up(values, key)
        if key in by_size:
            how = "by the hidden size, as Transformers does"
        elif key in FOLLOWS:
            how = f"follows {FOLLOWS[key]}"
        else:
            how = "without effect here" if value is None else "as without it"
        yield Decision(key, "auto" if value is None else value, f"{told}: {how}")


def put(config: dict[str, Any], key: str, value: Any) -> None:
    """Set a key by its full name."""
    *sections, name = key.split(".")
    for section in sections:
        # A copy: constants of others may be in it.
        config[section] = dict(config.get(section) or {})
        config = config[section]
    config[name] = value
