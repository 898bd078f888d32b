"""Memory and time that a step's job asks a cluster for, unless its profile says.

Estimates on the safe side: what is too much waits a little longer in the queue, what is
too little is killed. Sizes come from the plan, the tokens and the files themselves.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from retune.artifacts.plan import Plan
from retune.artifacts.tokens_index import TokensIndex
from retune.evaluation.prompts import NUM_PROMPTS
from retune.planning.memory import (
    checkpoint_bytes,
    loading_bytes,
    model_states_bytes,
    offloaded_to_cpu_bytes,
    weights_bytes,
)
from retune.settings import FinetuneSettings, SampleSettings
from retune.tokens.mixture import Mixture
from retune.training.schedules import num_steps
from retune.units import GB

# Main memory of a process that has imported torch and DeepSpeed and has a CUDA context.
PROCESS_GB = 4.0
# Factor on every estimate of memory, to be on the safe side.
SPARE = 1.25
# FLOP/s of one device in training, a low estimate: a small model reaches about a tenth
# of an A100's peak. For CPUs it is the FLOP/s of one rank.
SLOW_FLOPS = {"cuda": 3e13, "cpu": 1e10}
# FLOP/s of one device in evaluation, in fp32 and with one document at a time.
SLOW_EVALUATION_FLOPS = {"cuda": 3e12, "cpu": 1e10}
# Main memory or GPU memory that one process reads, bytes per second: generating a token
# reads every weight.
SLOW_BYTES_PER_S = {"cuda": 2e11, "cpu": 2e9}
# Throughput of each node to a shared file system, bytes per second.
DISK_BYTES_PER_S = 5e8
# Throughput of hashing the live weights, bytes per second; ranks hash in turn.
HASHED_BYTES_PER_S = 1e9
# Time for imports, rendezvous, loading and the first validation, minutes.
START_MINUTES = 20
# Least notice before a time limit, seconds; SLURM may be a minute early.
LEAST_NOTICE_S = 120


@dataclass(frozen=True)
class JobRequest:
    """What one job asks for.

    Attributes:
        mem_mb: Main memory of each node, MB.
        runtime: Time limit, minutes.
        notice_s: How long before the time limit the job wants a signal, seconds.
    """

    mem_mb: int
    runtime: int
    notice_s: int


def finetune_request(
    settings: FinetuneSettings, plan_file: Path, tokens: Path
) -> JobRequest:
    """Return what `finetune` asks for.

    Args:
        settings: Settings of the section `finetune`.
        plan_file: Path of the plan that `configure` wrote.
        tokens: Folder of the tokens that `tokenize` wrote.

    Raises:
        FileNotFoundError: As long as there is no plan, or no tokens.
    """
    plan = Plan.read(plan_file)
    nodes, parameters = plan.nodes, plan.num_parameters
    mixture = Mixture.of(TokensIndex.read(tokens), settings.mix)
    steps = num_steps(settings, mixture.blocks_per_epoch, plan.global_batch_size)
    # A checkpoint is written, and read back before it counts.
    saving = 2 * checkpoint_bytes(plan, parameters) / nodes / DISK_BYTES_PER_S
    hashing = weights_bytes(plan) / HASHED_BYTES_PER_S
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
        notice_s: How long before the time limit the signal comes, seconds.
    """
    return START_MINUTES + math.ceil(notice_s / 60)


def finetune_memory_gb(plan: Plan) -> float:
    """Return the main memory that a node's ranks take, GB."""
    parameters, world_size = plan.num_parameters, plan.world_size
    # While a checkpoint is saved, a rank's shard of it passes through main memory.
    rank = checkpoint_bytes(plan, parameters) / world_size
    rank += loading_bytes(plan)
    if plan.accelerator == "cpu":
        rank += 2 * model_states_bytes(plan)
    offloaded = offloaded_to_cpu_bytes(plan) / plan.nodes
    return plan.ranks_per_node * (PROCESS_GB + rank / GB) + offloaded / GB


def step_seconds(plan: Plan) -> float:
    """Return about how many seconds an optimizer step takes.

    Training takes 6 FLOPs for each weight and token.
    """
    flops = 6.0 * plan.num_parameters * plan.tokens_per_step
    if plan.activation_checkpointing:
        flops *= 1 + 1 / (3 * plan.activation_checkpointing_interval)
    return flops / (SLOW_FLOPS[plan.accelerator] * plan.world_size)


def data_request(*folders: Path) -> JobRequest:
    """Return what a step asks for that holds the text of folders in main memory."""
    size = sum(folder_gb(folder) for folder in folders)
    # Parquet is compressed, and text is held as Python strings for a while.
    return JobRequest(in_mb(PROCESS_GB + 20 * size), round_up(30 + 60 * size, 10), 0)


def model_request(
    model: Path, documents: Sequence[Path], accelerator: str
) -> JobRequest:
    """Return what a step asks for that joins or evaluates a model.

    Args:
        model: Folder of the model.
        documents: Parquet files with the documents that the model is evaluated on; none
            if it is joined.
        accelerator: What it runs on, `cuda` or `cpu`.
    """
    size = folder_gb(model)
    # A token takes about a byte of compressed text, a weight at least two bytes.
    tokens = sum(path.stat().st_size for path in documents)
    flops = 2 * size * GB / 2 * tokens
    # Reading, writing and hashing come first.
    seconds = 60 * size + 2 * flops / SLOW_EVALUATION_FLOPS[accelerator]
    # It is evaluated in fp32, and is there twice while it is loaded. It is joined piece
    # by piece.
    memory = PROCESS_GB + size * (4 if documents else 0.25)
    return JobRequest(in_mb(memory), round_up(START_MINUTES + seconds / 60, 10), 0)


def sample_request(
    settings: SampleSettings, model: Path, accelerator: str
) -> JobRequest:
    """Return what `sample` asks for.

    Args:
        settings: Settings of the section `sample`.
        model: Folder of one of the two models.
        accelerator: What it runs on, `cuda` or `cpu`.
    """
    size = folder_gb(model)
    prompts = NUM_PROMPTS if settings.prompts == "auto" else len(settings.prompts)
    # Each model continues each prompt twice: the likeliest way, and a random draw.
    tokens = 2 * 2 * prompts * settings.max_new_tokens
    # It generates in fp32, with weights of two bytes or more in the files.
    generating = tokens * 2 * size * GB / SLOW_BYTES_PER_S[accelerator]
    seconds = 2 * 60 * size + 2 * generating
    memory = PROCESS_GB + 4 * size
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
