"""Where a run swaps to a local disk: a folder of its own."""

import copy
import shutil
from pathlib import Path
from typing import Any

from retune.artifacts.run_spec import RunSpec


def config_with_swap_folder(run: RunSpec, key: str) -> dict[str, Any]:
    """Return the DeepSpeed config of a run, by which it swaps to a folder of its own.

    Two runs that swap to one folder would overwrite each other's files.

    Args:
        run: The training.
        key: Name of its folder under `state`.
    """
    config = copy.deepcopy(run.deepspeed)
    zero = config["zero_optimization"]
    for section in ("offload_optimizer", "offload_param"):
        if zero.get(section, {}).get("device") == "nvme":
            zero[section]["nvme_path"] = str(Path(run.nvme_path) / key)
    return config


def remove_swap_files(run: RunSpec, key: str) -> None:
    """Remove what a run has swapped; its checkpoints have copies of their own.

    Args:
        run: The training.
        key: Name of its folder under `state`.
    """
    if run.nvme_path:
        shutil.rmtree(Path(run.nvme_path) / key, ignore_errors=True)
