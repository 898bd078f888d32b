"""The settings of `configure` that a user's DeepSpeed config decides."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from retune.linting.batch import MICRO, STEPS, TOTAL
from retune.planning.given_config import ZERO, GivenConfig, precision_named
from retune.settings import ConfigureSettings, Precision

# Each setting, and the key of DeepSpeed's that has the same values.
SAME = {
    "micro_batch_size": MICRO,
    "gradient_clipping": "gradient_clipping",
    "zero_stage": f"{ZERO}.stage",
    "offload_optimizer": f"{ZERO}.offload_optimizer.device",
    "offload_param": f"{ZERO}.offload_param.device",
}
OFFLOADS = ("offload_optimizer", "offload_param")
STATES = "bf16.bf16_optimizer_states"
ACCUMULATION = "data_types.grad_accum_dtype"


@dataclass(frozen=True)
class Taken:
    """The value of a setting that a DeepSpeed config decides.

    Attributes:
        value: The value.
        key: Full name of the key that decides it.
    """

    value: Any
    key: str


def taken_settings(
    given: GivenConfig, settings: ConfigureSettings, ranks: int | None = None
) -> dict[str, Taken]:
    """Return the settings that a DeepSpeed config decides, by their names.

    Args:
        given: The config.
        settings: The `configure` section, as params.yaml has it.
        ranks: Number of ranks that divide a batch; None if it is not known yet.
    """
    taken = {
        setting: Taken(as_setting(value), key)
        for setting, key in SAME.items()
        if (value := given.value(key)) is not None
    }
    stage = SAME["zero_stage"]
    if given.file and given.value(stage) is not None:
        # What a whole config does not offload stays where it is.
        left_open = {key for key in OFFLOADS if getattr(settings, key) == "auto"}
        taken |= {key: Taken("none", stage) for key in left_open - taken.keys()}
    taken |= taken_batch(given, settings, ranks)
    if precision := taken_precision(given, settings):
        taken["precision"] = precision
    if (states := given.value(STATES)) is not None:
        taken["bf16_optimizer_states"] = Taken(states, STATES)
    return taken


def as_setting(value: Any) -> Any:
    """Return a value as params.yaml has it: whole numbers are integers."""
    return int(value) if isinstance(value, float) and value % 1 == 0 else value


def taken_batch(
    given: GivenConfig, settings: ConfigureSettings, ranks: int | None
) -> dict[str, Taken]:
    """Return the batch sizes that follow from any two of DeepSpeed's three.

    Args:
        given: The config.
        settings: The `configure` section.
        ranks: Number of ranks that divide a batch; None if it is not known yet.
    """
    total, micro, steps = (given.value(key) for key in (TOTAL, MICRO, STEPS))
    taken: dict[str, Taken] = {}
    if total is not None:
        taken["global_batch_size"] = Taken(int(total), TOTAL)
    if steps is None or ranks is None or steps < 1:
        return taken
    if total is None and micro is not None:
        batch = int(micro * steps * ranks)
        taken["global_batch_size"] = Taken(batch, STEPS)
    elif micro is None:
        batch = int(total or settings.global_batch_size)
        taken["micro_batch_size"] = Taken(max(1, batch // int(steps * ranks)), STEPS)
    return taken


def taken_precision(given: GivenConfig, settings: ConfigureSettings) -> Taken | None:
    """Return the precision; None if the config leaves it to params.yaml."""
    key = {"bf16": "bf16.enabled", "fp16": "fp16.enabled"}
    on = {name: given.value(enabled) for name, enabled in key.items()}
    for name, enabled in key.items():
        if on[name]:
            return Taken(name, enabled)
    is_off = [name for name in key if on[name] is False]
    if not is_off:
        return None
    # A single one that is off says nothing of the other, but `auto` may not take it.
    wanted = "bf16" if settings.precision == "auto" else settings.precision
    if len(is_off) == 2 or wanted in is_off:
        return Taken("fp32", key[is_off[0]])
    return None


def contradictions(
    given: GivenConfig,
    settings: ConfigureSettings,
    taken: dict[str, Taken],
    is_set: Callable[[str], bool],
) -> Iterator[str]:
    """Yield a line for each setting that params.yaml and the config give differently.

    Args:
        given: The config.
        settings: The `configure` section, as params.yaml has it.
        taken: The settings that the config decides.
        is_set: Whether params.yaml sets a setting.
    """
    for setting, found in taken.items():
        mine = getattr(settings, setting)
        if is_set(setting) and mine not in ("auto", found.value):
            yield (
                f"{given.where(found.key)}: it makes {setting} {found.value}, but"
                f" configure.{setting} is {mine}; keep one of them"
            )


def accumulation_dtype(given: GivenConfig) -> Precision | None:
    """Return the type that the config has gradients added up in; None if none."""
    return precision_named(given.value(ACCUMULATION))
