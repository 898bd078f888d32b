"""Rows of a history, for tests."""

from typing import Any

from retune.measuring.history import StepRow


def step_row(step: int, **values: Any) -> StepRow:
    """Return the row of a step; what is not given has a value of its own."""
    defaults: dict[str, Any] = {
        "epoch": 0.5,
        "train_loss": 7.5,
        "learning_rate": 1e-3,
        "grad_norm": 1.25,
        "num_labels": 900,
        "num_tokens": 1000,
        "was_skipped": False,
        "seconds": 0.3,
        "data_seconds": 0.0,
        "forward_seconds": 0.0,
        "backward_seconds": 0.0,
        "optimizer_seconds": 0.0,
        "save_seconds": 0.0,
        "peak_memory_gb": 0.5,
    }
    return StepRow(step=step, **{**defaults, **values})
