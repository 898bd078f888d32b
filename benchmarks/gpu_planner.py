"""The planner's grid: predicted memory and time of strategies beside measured ones.

Nothing yet. `gpu.py` calls `measure_grid` between the speeds and the long context.
"""

from pathlib import Path

from gpu_results import add_record


def measure_grid(out: Path, seconds: float) -> None:
    """Measure strategies that `configure` predicts, and compare.

    Args:
        out: Folder of the results, see `gpu_results`.
        seconds: Time that it may take.
    """
    add_record(out, part="planner", text="Nothing yet.")
