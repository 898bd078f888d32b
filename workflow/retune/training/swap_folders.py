"""Where a run offloads to a local disk: a folder of its own."""

import shutil
from pathlib import Path
from typing import Any


def use_own_folder(config: dict[str, Any], run: str) -> None:
    """Have a run swap to a folder of its own, in place: two would overwrite each other.

    Args:
        config: The DeepSpeed config.
        run: Name of the run.
    """
    for offload in swapping_parts(config):
        offload["nvme_path"] = str(Path(offload["nvme_path"]) / run)


def remove_swap_files(config: dict[str, Any], run: str) -> None:
    """Remove what a run has swapped; its checkpoints have copies of their own."""
    for offload in swapping_parts(config):
        shutil.rmtree(Path(offload["nvme_path"]) / run, ignore_errors=True)


def swapping_parts(config: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the parts of a DeepSpeed config that name a folder to swap to."""
    zero = config["zero_optimization"]
    parts = [zero.get(key, {}) for key in ("offload_optimizer", "offload_param")]
    return [part for part in parts if "nvme_path" in part]
