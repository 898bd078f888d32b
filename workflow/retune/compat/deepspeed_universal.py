"""Checkpoints in the form that DeepSpeed 0.19 loads on any number of ranks.

Uses the module `deepspeed.checkpoint.ds_to_universal` and its options, and of the
ZeRO-3 optimizer `param_groups` and `optimizer.state`. Without these, a run could be
resumed only on the number of ranks that saved it.
"""

import subprocess
import sys
from pathlib import Path
from typing import Any

import deepspeed
import torch

# The options of a parameter group, such as its learning rate, by their names.
Options = dict[str, Any]


def convert_to_universal(
    checkpoint: Path, target: Path
) -> subprocess.CompletedProcess[str]:
    """Write the universal form of a checkpoint; return how the process ended.

    Args:
        checkpoint: Folder of the checkpoint.
        target: Folder to write.
    """
    command = [
        *[sys.executable, "-m", "deepspeed.checkpoint.ds_to_universal"],
        *["--input_folder", str(checkpoint), "--output_folder", str(target)],
        *["--inject_missing_state", "--num_extract_workers", "2"],
        *["--num_merge_workers", "2"],
    ]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def own_options(engine: deepspeed.DeepSpeedEngine) -> list[Options]:
    """Return the options of each parameter group, without its parameters."""
    return [
        {key: value for key, value in group.items() if key != "params"}
        for group in engine.optimizer.param_groups
    ]


def mend_universal(engine: deepspeed.DeepSpeedEngine, options: list[Options]) -> None:
    """Undo what DeepSpeed gets wrong when it loads a universal ZeRO-3 checkpoint.

    All parameter groups get the options of the first: weight decay for what should
    have none. And they share one tensor that counts Adam's steps, on the CPU: with two
    groups it counts twice as fast, and fused AdamW wants it beside its parameter.

    Args:
        engine: The engine, after its `load_checkpoint`.
        options: The options of its parameter groups from before.
    """
    for group, own in zip(engine.optimizer.param_groups, options, strict=True):
        group.update(own)
    for parameter, state in engine.optimizer.optimizer.state.items():
        if torch.is_tensor(state.get("step")):
            state["step"] = state["step"].to(parameter.device, copy=True)
