"""Where a run swaps to a local disk: a folder of its own."""

import copy
import shutil
from pathlib import Path
from typing import Any


def with_own_swap_folder(config: dict[str, Any], run: str) -> dict[str, Any]:
    """Return a DeepSpeed config by which a run swaps to a folder of its own.

    Two runs that swap to one folder would overwrite each other's files.

    Args:
        config: DeepSpeed config of the plan.
        run: Name of the run.
    """
    config = copy.deepcopy(config)
    for offload in sections_with_swap_folder(config):
        offload["nvme_path"] = str(Path(offload["nvme_path"]) / run)
    return config


def remove_swap_files(config: dict[str, Any], run: str) -> None:
    """Remove what a run has swapped; its checkpoints have copies of their own.

    Args:
        config: DeepSpeed config of the plan.
        run: Name of the run.
    """
    for offload in sections_with_swap_folder(config):
        shutil.rmtree(Path(offload["nvme_path"]) / run, ignore_errors=True)


def sections_with_swap_folder(config: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the sections of a DeepSpeed config that name a folder to swap to."""
    zero = config["zero_optimization"]
    sections = [zero.get(key, {}) for key in ("offload_optimizer", "offload_param")]
    return [section for section in sections if "nvme_path" in section]
