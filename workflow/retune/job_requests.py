"""Memory and time that a step's job asks a cluster for, unless its profile says.

Estimates on the safe side: what is too much waits a little longer in the queue, what is
too little is killed. Sizes come from the plan, the tokens and the files themselves.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from retune.model_states import GB, offloaded_to_cpu_bytes, planned_states_bytes
from retune.publishing import read_json
from retune.settings import FinetuneSettings
from retune.training.checkpoint_files import checkpoint_bytes
from retune.training.schedules import num_steps

# Main memory of a process that has imported torch and DeepSpeed, with a CUDA context.
PROCESS_GB = 4.0
# What is added to every sum.
SPARE = 1.25
# FLOP/s of one device that is not known better: two fifths of an A100's peak is what
# large models reach there, a tenth what a small one may. CPUs by the rank.
SLOW_FLOPS = {"cuda": 3e13, "cpu": 1e10}
# And that evaluation reaches, in fp32 and with one document at a time.
SLOW_EVALUATION_FLOPS = {"cuda": 3e12, "cpu": 1e10}
# To one file system, from each node.
DISK_BYTES_PER_S = 5e8
# Of live weights, one rank after the other.
HASHED_BYTES_PER_S = 1e9
# Imports, rendezvous, loading, the first validation.
START_MINUTES = 20
# The least notice before a time limit; SLURM may be a minute early.
LEAST_NOTICE_S = 120


@dataclass(frozen=True)
class JobRequest:
    """What one job asks for.

    Args:
        mem_mb: Main memory of each node, MB.
        runtime: Time, minutes.
        notice_s: How long before the time limit it wants a signal, seconds.
    """

    mem_mb: int
    runtime: int
    notice_s: int


def finetune_request(
    settings: FinetuneSettings, plan_file: Path, tokens: Path
) -> JobRequest:
    """Return what `finetune` asks for.

    Raises:
        FileNotFoundError: As long as there is no plan, or no tokens.
    """
    plan = read_json(plan_file)
    facts = read_json(tokens / "tokens.json")
    nodes, parameters = plan["hardware"]["nodes"], plan["num_parameters"]
    blocks = count_blocks(tokens, facts)
    steps = num_steps(settings, blocks, plan["global_batch_size"])
    # Written, and read back before it counts.
    saving = 2 * checkpoint_bytes(plan, parameters) / nodes / DISK_BYTES_PER_S
    hashing = 2 * parameters / HASHED_BYTES_PER_S
    seconds = steps * step_seconds(plan) + steps / settings.save_steps * saving
    return JobRequest(
        mem_mb=in_mb(finetune_memory_gb(plan)),
        runtime=round_up(START_MINUTES + 2 * seconds / 60, 10),
        notice_s=round_up(
            LEAST_NOTICE_S + saving + hashing + 2 * step_seconds(plan), 10
        ),
    )


def least_runtime(notice_s: int) -> int:
    """Return the minutes in which `finetune` starts, and does a step before the signal.

    Args:
        notice_s: How long before the time limit that comes, seconds.
    """
    return START_MINUTES + math.ceil(notice_s / 60)


def finetune_memory_gb(plan: dict[str, Any]) -> float:
    """Return the main memory that a node's ranks take, GB."""
    parameters, world_size = plan["num_parameters"], plan["world_size"]
    hardware = plan["hardware"]
    # While a checkpoint is saved, a rank's share of it passes through main memory.
    rank = checkpoint_bytes(plan, parameters) / world_size
    if plan["zero_stage"] < 3:
        rank += parameters * 4  # and so does the model, while it is loaded
    if hardware["accelerator"] == "cpu":
        rank += 2 * planned_states_bytes(parameters, plan, world_size)
    offloaded = offloaded_to_cpu_bytes(parameters, plan) / hardware["nodes"]
    return hardware["gpus_per_node"] * (PROCESS_GB + rank / GB) + offloaded / GB


def step_seconds(plan: dict[str, Any]) -> float:
    """Return about how long an optimizer step takes, s: 6 FLOPs a weight and token."""
    flops = 6 * plan["num_parameters"] * plan["tokens_per_step"]
    if plan["activation_checkpointing"]:
        flops *= 4 / 3
    return flops / (SLOW_FLOPS[plan["hardware"]["accelerator"]] * plan["world_size"])


def count_blocks(tokens: Path, facts: dict[str, Any]) -> int:
    """Return the number of training blocks, from the size of their file."""
    width = np.dtype(facts["dtype"]).itemsize
    size = (tokens / "train.tokens.bin").stat().st_size
    return size // width // facts["sequence_length"]


def data_request(*folders: Path) -> JobRequest:
    """Return what a step asks for that holds the text of these folders in memory."""
    size = sum(folder_gb(folder) for folder in folders)
    # Parquet is compressed, and text is held as Python strings for a while.
    return JobRequest(in_mb(PROCESS_GB + 20 * size), round_up(30 + 60 * size, 10), 0)


def model_request(
    model: Path, documents: Sequence[Path], accelerator: str
) -> JobRequest:
    """Return what a step asks for that joins or evaluates a model.

    Args:
        model: Its folder.
        documents: Parquet files that it is evaluated on; none if it is joined.
        accelerator: Where.
    """
    size = folder_gb(model)
    # A compressed byte is about a token; a weight at least two bytes.
    tokens = sum(path.stat().st_size for path in documents)
    flops = 2 * size * GB / 2 * tokens
    # Reading, writing and hashing come first.
    seconds = 60 * size + 2 * flops / SLOW_EVALUATION_FLOPS[accelerator]
    # Evaluated in fp32, and twice there while it is loaded; joined piece by piece.
    memory = PROCESS_GB + size * (4 if documents else 0.25)
    return JobRequest(in_mb(memory), round_up(START_MINUTES + seconds / 60, 10), 0)


def folder_gb(folder: Path) -> float:
    """Return the size of a folder's files, GB.

    Raises:
        FileNotFoundError: If it does not exist yet.
    """
    if not folder.exists():
        raise FileNotFoundError(folder)
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / GB


def in_mb(gigabytes: float) -> int:
    """Return a request in MB, with something to spare, in whole GB."""
    return 1000 * math.ceil(gigabytes * SPARE)


def round_up(value: float, unit: int) -> int:
    """Return the next multiple of a unit."""
    return unit * math.ceil(value / unit)
