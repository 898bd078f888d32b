"""What becomes of "auto", of which DeepSpeed knows nothing."""

from typing import Any

from retune.linting.finding import Finding, error, warning
from retune.linting.read_config import ReadConfig
from retune.linting.transformers_auto import BY_ARGUMENTS, OFFLOADS
from retune.linting.value import Section, Value
from retune.linting.wrong_values import JOINED, after_text

# Where the default instead of a value means another training.
DECISIVE = {
    "fp16.enabled": "fp16 stays off, silently",
    "bf16.enabled": "bf16 stays off, silently",
    "bfloat16.enabled": "bfloat16 stays off, silently",
    "zero_optimization.stage": "ZeRO is off (stage 0), silently",
    "zero_optimization.offload_optimizer": "nothing is offloaded, silently",
    "zero_optimization.offload_optimizer.device": "nothing is offloaded, silently",
    "zero_optimization.offload_param": "nothing is offloaded, silently",
    "zero_optimization.offload_param.device": "nothing is offloaded, silently",
}
PRECISIONS = ("fp16.enabled", "bf16.enabled", "bfloat16.enabled")
# Their sections are in one pydantic model, which drops "auto" in place of one.
MONITORS = ("tensorboard", "wandb", "csv_monitor", "comet")


def auto_finding(
    config: ReadConfig, key: str, known: Value | Section, checked: bool
) -> Finding | None:
    """Return the finding for a key whose value is "auto", or None if that is right.

    Args:
        config: The whole config.
        key: Full name of the key.
        known: What it takes.
        checked: Whether a pydantic model reads the object that the key is in.
    """
    if isinstance(known, Value) and known.auto:
        return None
    if config.is_filled_in(key):
        return offload_finding(key)
    mend = mend_of(config, key, known)
    if checked or key in MONITORS:
        if key in DECISIVE:
            is_fp32 = key in PRECISIONS and config.precision == "fp32"
            what = "the model trains in fp32, silently" if is_fp32 else DECISIVE[key]
            return error(key, f'DeepSpeed drops "auto": {what}', mend)
        taken = f"its default, {shown_default(known)}, holds silently"
        return warning(key, f'DeepSpeed drops "auto": {taken}', mend)
    is_boolean = isinstance(known, Value) and known.kind == "boolean"
    if is_boolean and key not in JOINED:
        return error(key, 'DeepSpeed takes the text "auto" as true', mend)
    if isinstance(known, Section):
        happens = '"auto" is no value for DeepSpeed, which refuses it'
        return error(key, happens, mend)
    return error(key, after_text(key, 'the text "auto"'), mend)


def offload_finding(key: str) -> Finding | None:
    """Return the finding for "auto" that Transformers replaces by "none"."""
    if key not in OFFLOADS or key.endswith("nvme_path"):
        return None
    happens = 'Transformers takes "none", unless an environment variable says more'
    return warning(key, happens, 'write "cpu", "nvme" or "none"')


def mend_of(config: ReadConfig, key: str, known: Value | Section) -> str:
    """Return what to write instead of "auto"."""
    if isinstance(known, Section):
        write = "write {...}, or delete it"
    else:
        write = f"write {known.words()}"
    return f"{write}{who_fills_in(config, key)}"


def who_fills_in(config: ReadConfig, key: str) -> str:
    """Return a hint at the libraries that replace a key's "auto", or nothing."""
    if config.training.transformers or key not in BY_ARGUMENTS:
        return ""
    return "; only the Trainer, or Accelerate, fills it in (--transformers)"


def shown_default(known: Value | Section) -> Any:
    """Return a default for people."""
    if isinstance(known, Section):
        return "none"
    if isinstance(known.default, bool):
        return str(known.default).lower()
    if isinstance(known.default, float):
        return f"{known.default:g}"
    return "none" if known.default is None else known.default
