"""What the time of profiled steps went to, as rows of plain text."""

from retune.artifacts.training_operations import TrainingOperations
from retune.quantities import percent
from retune.reporting.evaluation_rows import Row

HEADER = ("operation", "ms per step", "share", "calls per step")


def operation_rows(profile: TrainingOperations) -> list[Row]:
    """Return a row for each of the most expensive operations."""
    return [
        (
            operation.name,
            f"{1000 * operation.seconds_per_step:.2f}",
            percent(operation.share),
            f"{operation.calls_per_step:,.0f}",
        )
        for operation in profile.operations
    ]


def profiled_steps(profile: TrainingOperations) -> str:
    """Return which steps were profiled, and where; nothing if none was."""
    if profile.first_step is None:
        return ""
    last = profile.first_step + profile.steps - 1
    where = "its GPU" if profile.device == "cuda" else "its CPU"
    return f"steps {profile.first_step} to {last} of rank 0, on {where}"
