"""What is predicted of a training, in a few words."""

from retune.artifacts.plan import Plan, Reasons
from retune.units import GB


def prediction_line(plan: Plan, reasons: Reasons) -> str:
    """Return what is predicted of a training, in a few words; nothing on CPUs.

    There main memory is seldom short, and no time is predicted.
    """
    if plan.accelerator == "cpu":
        return ""
    memory = reasons.memory
    told = gigabytes(memory.peak_bytes / GB)
    if reasons.gpu_memory_gb is not None:
        told = f"{told.removesuffix(' GB')} of {reasons.gpu_memory_gb:g} GB"
    if reasons.step_seconds is not None:
        told += f" and {seconds(reasons.step_seconds)} s/step"
    return f"{told} predicted"


def gigabytes(value: float) -> str:
    """Return a size: `63.6 GB`, `0.41 GB` or `0.0042 GB`."""
    shown = f"{value:,.1f}" if value >= 10 else f"{value:.2f}"
    return f"{shown if value >= 0.095 else f'{value:.2g}'} GB"


def seconds(value: float) -> str:
    """Return a number of seconds: `1,200`, `12`, `3.1` or `0.042`."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"
