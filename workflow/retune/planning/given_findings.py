"""What is wrong with a user's DeepSpeed config: by itself, and once it is completed."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from retune.artifacts.plan import Plan
from retune.linting.batch import MICRO, STEPS, TOTAL
from retune.linting.finding import Finding, Training
from retune.linting.keys_and_values import single_keys
from retune.linting.known_keys import at
from retune.linting.lint import lint
from retune.linting.read_config import ReadConfig
from retune.linting.transformers_auto import FILLED
from retune.linting.value import Section
from retune.planning.given_config import ZERO, GivenConfig, look_up, merged
from retune.planning.given_keys import (
    not_filled_in,
    not_shown,
    refused_keys,
    without_timer,
)
from retune.planning.given_settings import OFFLOADS
from retune.planning.hardware import Hardware
from retune.settings import ConfigureSettings, Precision


def static_findings(given: GivenConfig) -> list[Finding]:
    """Return the errors that do not depend on the machines or on other keys."""
    anywhere = Training(gpus=1, transformers=True)
    found = single_keys(ReadConfig(given.written, anywhere))
    noted = [*given.findings, *found]
    errors = [each for each in noted if each.severity == "error"]
    wrong = {each.key for each in errors}
    return [
        *errors,
        # Where DeepSpeed would stop at "auto", the linter says so.
        *(each for each in not_filled_in(given) if each.key not in wrong),
        *refused_keys(given),
    ]


def all_findings(
    given: GivenConfig,
    settings: ConfigureSettings,
    machines: Hardware | None,
    precisions: Sequence[Precision],
) -> list[Finding]:
    """Return what can be found before there is a plan, in the order of the config.

    Args:
        given: The config.
        settings: The `configure` section with what the config decides.
        machines: The machines; None if they are not known.
        precisions: Those that the plan may have.
    """
    found = static_findings(given)
    if machines:
        found += early_findings(given, settings, machines, precisions)
    noted = [*found, *given.findings, *not_shown(given), *without_timer(given)]
    errors = [each for each in noted if each.severity == "error"]
    wrong = {each.key for each in errors}
    warnings = [
        each for each in noted if each.severity == "warning" and each.key not in wrong
    ]
    return [*in_order(errors, given), *in_order(warnings, given)]


def in_order(findings: Sequence[Finding], given: GivenConfig) -> list[Finding]:
    """Return the findings in the order of the config, each that says a thing once."""
    first = {(each.key, each.happens): each for each in reversed(findings)}
    order = list(given.written)

    def place(finding: Finding) -> int:
        name = finding.key.partition(".")[0]
        return order.index(name) if name in order else len(order)

    return sorted(reversed(first.values()), key=place)


def early_findings(
    given: GivenConfig,
    settings: ConfigureSettings,
    machines: Hardware,
    precisions: Sequence[Precision],
) -> list[Finding]:
    """Return the linter's findings before there is a plan.

    The stage of ZeRO, the precision, and what is offloaded may not be known yet; then
    it is what is found with any of them.

    Args:
        given: The config.
        settings: The `configure` section with what the config decides.
        machines: The machines.
        precisions: Those that the plan may have.
    """
    training = Training(
        gpus=machines.world_size,
        accelerator=machines.accelerator,
        client_optimizer=client_optimizer(settings),
        model_parallel=settings.pipeline_stages,
    )
    bf16 = "bfloat16" if "bfloat16" in given.written else "bf16"
    base: dict[str, Any] = {"zero_allow_untested_optimizer": settings.optim != "adamw"}
    sizes = [given.value(key) for key in (TOTAL, MICRO, STEPS)]
    if sizes[0] is None and None in sizes[1:]:
        base[TOTAL] = settings.global_batch_size
    found = []
    for stage, precision, offloads in itertools.product(
        possible_stages(settings), precisions, possible_offloads(given, settings)
    ):
        config = {
            **base,
            "fp16": {"enabled": precision == "fp16"},
            bf16: {"enabled": precision == "bf16"},
            ZERO: {"stage": stage, **offloads},
        }
        found.append(lint(to_lint(given.written, config), training))
    return [each for each in found[0] if all(each in other for other in found)]


def possible_stages(settings: ConfigureSettings) -> list[int]:
    """Return the stages of ZeRO that a plan may have."""
    if settings.zero_stage != "auto":
        return [settings.zero_stage]
    if settings.pipeline_stages > 1:
        return [1]
    is_of_stage_3 = settings.offload_optimizer == "nvme"
    return [3] if is_of_stage_3 or settings.offload_param != "none" else [2, 3]


def possible_offloads(
    given: GivenConfig, settings: ConfigureSettings
) -> list[dict[str, Any]]:
    """Return the sections by which a plan may complete those of the user's.

    Args:
        given: The config.
        settings: The `configure` section with what the config decides.
    """
    found: list[dict[str, Any]] = [{}]
    for name in OFFLOADS:
        device = getattr(settings, name)
        if device == "none" or not look_up(given.written, f"{ZERO}.{name}"):
            continue
        devices = ["none", "cpu"] if device == "auto" else [device]
        found = [
            {**others, **({} if where == "none" else {name: {"device": where}})}
            for others in found
            for where in devices
        ]
    return found


def client_optimizer(strategy: ConfigureSettings | Plan) -> str:
    """Return the class of the optimizer that the engine is given."""
    if strategy.offload_optimizer != "none":
        return "DeepSpeedCPUAdam"
    return "AdamW" if strategy.optim == "adamw" else "GroupedAdamW8bit"


def to_lint(given: Mapping[str, Any], base: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config as DeepSpeed would read it.

    Args:
        given: What the user gives of it.
        base: What `configure` writes for the rest.
    """
    written = {
        name: value
        for name, value in to_merge(given).items()
        # They are none of DeepSpeed's here, see `given_keys.py`.
        if name not in ("optimizer", "scheduler")
    }
    config = merged(base, written)
    for section in OFFLOADS:
        offload = look_up(config, f"{ZERO}.{section}")
        if isinstance(offload, Mapping) and offload.get("device") == "nvme":
            config[ZERO][section] = {**offload, "nvme_path": "hardware.nvme_path"}
    return config


def to_merge(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return what of a config is over the plan.

    The "auto" that the plan fills in is not, nor is `null`, nor what stands in the
    place of a whole section.
    """
    found: dict[str, Any] = {}
    for name, value in config.items():
        key = f"{prefix}{name}"
        if isinstance(value, Mapping):
            found[name] = to_merge(value, f"{key}.")
        elif not is_left_to_plan(key, value):
            found[name] = value
    return found


def is_left_to_plan(key: str, value: Any) -> bool:
    """Return whether a value that is no object says nothing to plan by."""
    if value is None or (value == "auto" and key in FILLED):
        return True
    # `"zero_optimization": true` is an old form of stage 1.
    is_old_form = key == ZERO and isinstance(value, bool)
    return isinstance(at(key), Section) and not is_old_form
