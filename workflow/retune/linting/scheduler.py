"""The findings in the schedule of the learning rate."""

from collections.abc import Iterator, Mapping
from typing import Any, TypeGuard

from retune.linting import scheduler_parameters as known
from retune.linting.auto_values import who_fills_in
from retune.linting.finding import Finding, error, warning
from retune.linting.keys_and_values import nearest, shown
from retune.linting.read_config import ReadConfig

TYPE, PARAMS = "scheduler.type", "scheduler.params"
POSITIVE = (
    *("warmup_num_steps", "total_num_steps", "lr_range_test_step_size"),
    "cycle_first_step_size",
)
RATES = ("warmup_min_lr", "warmup_max_lr", "cycle_min_lr", "cycle_max_lr")
RATES_AND_RATIOS = (*RATES, "lr_range_test_min_lr", "warmup_min_ratio", "cos_min_ratio")
SHAPES = ("log", "linear")
# WarmupDecayLR's own peak, if the file has none; WarmupLR takes the optimizer's rate.
DEFAULT_PEAK = 0.001


def schedules(config: ReadConfig) -> Iterator[Finding]:
    """Yield what is wrong with the schedule."""
    if not isinstance(config.as_written("scheduler"), Mapping):
        return
    kind = config.section("scheduler").get("type")
    if not isinstance(kind, str):
        if kind is not None:
            return
        happens = "missing: DeepSpeed ignores the scheduler, the rate stays constant"
        yield error(TYPE, happens, "write WarmupLR, WarmupDecayLR or WarmupCosineLR")
        return
    if kind == "auto":
        return  # Any "auto" is reported with the single keys.
    names = {**known.OWN, **known.TORCH}
    if kind in known.NOT_IN_JSON:
        yield error(
            TYPE, f"{kind} needs what JSON cannot give it", "pass it in the script"
        )
        return
    if kind not in names:
        others = "WarmupCosineLR" if "cos" in kind.lower() else "WarmupDecayLR"
        like = nearest(kind, names) or others
        yield error(TYPE, f"unknown: DeepSpeed refuses {kind}", f"write {like}")
        return
    params = config.section("scheduler").get("params")
    if not isinstance(params, Mapping):
        if params is None:
            yield error(PARAMS, "missing: DeepSpeed stops", "write {...}")
        return
    for name, value in params.items():
        yield from of_parameter(config, kind, name, value)
    for name in known.REQUIRED.get(kind, ()):
        if name not in params:
            happens = f"missing: {kind} does not work without, DeepSpeed stops"
            yield error(f"{PARAMS}.{name}", happens, "write a value")
    yield from of_steps(params)
    yield from of_peak(config, kind, params)


def of_parameter(
    config: ReadConfig, kind: str, name: str, value: Any
) -> Iterator[Finding]:
    """Yield what is wrong with one parameter of the schedule.

    Args:
        config: The whole config.
        kind: The schedule.
        name: Name of the parameter.
        value: Its value.
    """
    key = f"{PARAMS}.{name}"
    taken = known.OWN.get(kind) or known.TORCH[kind]
    if name not in taken:
        other = known.OTHER_NAMES.get(name)
        like = other if other in taken else nearest(name, taken)
        mend = f"write {like}" if like else f"it takes {', '.join(sorted(taken))}"
        happens = f"{kind} has no such parameter: DeepSpeed stops with a TypeError"
        yield error(key, happens, mend)
    elif name == "warmup_type":
        if value not in SHAPES:
            yield error(
                key, f'DeepSpeed takes "log" for {shown(value)}', "write log or linear"
            )
    elif value == "auto" and name not in known.FLAGS:
        if not config.is_filled_in(key):
            happens = '"auto" is no value for DeepSpeed: it stops at the start'
            yield error(key, happens, f"write a value{who_fills_in(config, key)}")
    elif kind in known.OWN:
        yield from of_value(key, name, value)


def of_value(key: str, name: str, value: Any) -> Iterator[Finding]:
    """Yield what is wrong with a value that one of DeepSpeed's schedules takes."""
    if name in known.FLAGS:
        if value not in (True, False):
            happens = f"DeepSpeed takes {shown(value)} as {str(bool(value)).lower()}"
            yield error(key, happens, "it takes true or false")
    elif name in POSITIVE:
        may_have_a_point = name in ("total_num_steps", "cycle_first_step_size")
        if not is_number(value) or value <= 0:
            happens = f"{shown(value)} is no number of steps"
            yield error(key, happens, "it takes an integer at least 1")
        elif isinstance(value, float) and not may_have_a_point:
            happens = f"{shown(value)} is no integer for DeepSpeed, which stops"
            yield error(key, happens, f"write {value:.0f}")
    elif name not in (known.LAST, *known.NULL) or value is not None:
        yield from of_number(key, name, value)


def of_number(key: str, name: str, value: Any) -> Iterator[Finding]:
    """Yield what is wrong with a number, or with one for each group of parameters."""
    for_groups = isinstance(value, list) and value and name in RATES_AND_RATIOS
    values = value if for_groups else [value]
    if any(isinstance(one, bool) for one in values):
        happens = f"DeepSpeed takes {shown(value)} as a number"
        yield error(key, happens, "it takes a number")
    elif not all(is_number(one) for one in values):
        happens = f"{shown(value)} is no number: DeepSpeed stops"
        yield error(key, happens, "it takes a number")
    elif name in RATES_AND_RATIOS and any(one < 0 for one in values):
        happens = f"{shown(value)} is negative: the training climbs the loss"
        yield error(key, happens, "it takes a number at least 0")


def of_steps(params: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield the finding for a warm-up that is longer than all steps."""
    warmup, total = (
        as_steps(params, f"{name}_num_steps") for name in ("warmup", "total")
    )
    if warmup is not None and total is not None and warmup > total:
        happens = f"{warmup:g} steps of {total:g}: the rate never gets to its peak"
        key = f"{PARAMS}.warmup_num_steps"
        yield error(key, happens, f"it takes at most {total:g}")


def of_peak(
    config: ReadConfig, kind: str, params: Mapping[str, Any]
) -> Iterator[Finding]:
    """Yield what is wrong with the rates that a schedule sets."""
    taken = known.OWN.get(kind, ())
    if "warmup_max_lr" not in taken:
        return
    lowest, peak = params.get("warmup_min_lr", 0), params.get("warmup_max_lr")
    if is_number(lowest) and is_number(peak) and lowest > peak > 0:
        happens = f"{lowest:g} is above warmup_max_lr, {peak:g}: the rate falls"
        yield error(f"{PARAMS}.warmup_min_lr", happens, "exchange them")
    is_default = kind == "WarmupDecayLR" and "warmup_max_lr" not in params
    peak = DEFAULT_PEAK if is_default else peak
    rate = config.section("optimizer.params").get("lr")
    if is_number(rate) and is_number(peak) and peak >= 0 and rate != peak:
        written = "its default, " if is_default else ""
        happens = f"the rate goes to {written}{peak:g}, not to optimizer.params.lr"
        mend = "write the same rate at both places"
        yield warning(f"{PARAMS}.warmup_max_lr", f"{happens}, {rate:g}", mend)


def is_number(value: Any) -> TypeGuard[float]:
    """Return whether a value is a number, and no boolean."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def as_steps(params: Mapping[str, Any], name: str) -> float | None:
    """Return a number of steps, or None if it is missing or no number."""
    value = params.get(name)
    return float(value) if is_number(value) and value > 0 else None
