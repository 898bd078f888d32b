"""Memory and time that a step's job asks a cluster for, unless its profile says.

Estimates on the safe side: what is too much waits a little longer in the queue, what is
too little is killed. Sizes come from the plan, the tokens and the files themselves.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from retune.artifacts.model_facts import ModelFacts
from retune.artifacts.plan import REASONS, Plan, Reasons
from retune.artifacts.tokens_index import TokensIndex
from retune.errors import RetuneError
from retune.evaluation.placement import BYTES, resolve_dtype, share_gpus
from retune.evaluation.prompts import NUM_PROMPTS
from retune.planning.memory import live_bytes
from retune.planning.memory_prediction import PROCESS_BYTES
from retune.settings import Dtype, FinetuneSettings, SampleSettings, ScoringSettings
from retune.tokens.mixture import Mixture
from retune.training.schedules import num_steps
from retune.units import GB

PROCESS_GB = PROCESS_BYTES / GB
# Factor on every estimate of memory, to be on the safe side.
SPARE = 1.25
# FLOP/s of one device in training, a low estimate: a small model reaches about a tenth
# of an A100's peak. For CPUs it is the FLOP/s of one rank.
SLOW_FLOPS = {"cuda": 3e13, "cpu": 1e10}
# FLOP/s of one device in evaluation, with one document at a time, by the bytes of a
# weight. A model that is split over GPUs computes on one of them at a time.
SLOW_EVALUATION_FLOPS = {
    ("cuda", 4): 3e12,
    ("cuda", 2): 1e13,
    ("cpu", 4): 1e10,
    ("cpu", 2): 1e10,
}
# Main memory or GPU memory that one process reads, bytes per second: generating a token
# reads every weight.
SLOW_BYTES_PER_S = {"cuda": 2e11, "cpu": 2e9}
# Throughput of each node to a shared file system, bytes per second.
DISK_BYTES_PER_S = 5e8
# Throughput of hashing the live weights, bytes per second; ranks hash in turn.
HASHED_BYTES_PER_S = 1e9
# Time for imports, rendezvous, loading and the first validation, minutes.
START_MINUTES = 20
# Time for rounding a weight to 4 bits on one core, seconds: each rank rounds them all.
SECONDS_PER_4_BITS = 3e-8
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
    nodes = plan.nodes
    mixture = Mixture.of(TokensIndex.read(tokens), settings.mix)
    steps = num_steps(settings, mixture.blocks_per_epoch, plan.global_batch_size)
    # A checkpoint is written, and read back before it counts.
    memory = Reasons.read(plan_file.with_name(REASONS)).memory
    saving = 2 * memory.checkpoint_bytes / nodes / DISK_BYTES_PER_S
    hashing = live_bytes(plan) / HASHED_BYTES_PER_S
    start = START_MINUTES + plan.num_4bit_parameters * SECONDS_PER_4_BITS / 60
    seconds = steps * step_seconds(plan) + steps / settings.save_steps * saving
    return JobRequest(
        mem_mb=in_mb(memory.main_memory_bytes / GB),
        runtime=round_up(start + 2 * seconds / 60, 10),
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


def join_request(model: Path) -> JobRequest:
    """Return what a step asks for that joins a model, piece by piece.

    Args:
        model: Folder of the base model.
    """
    size = folder_gb(model)
    return JobRequest(in_mb(PROCESS_GB + 0.25 * size), model_runtime(size, 0), 0)


def evaluation_request(
    settings: ScoringSettings,
    gpus: Sequence[float],
    base: Path,
    model: Path,
    documents: Sequence[Path],
) -> JobRequest:
    """Return what a step asks for that scores a model.

    Args:
        settings: What decides scores, of the section `evaluate`.
        gpus: Memory of each GPU, GB; none: it runs on CPUs.
        base: Folder of the base model.
        model: Folder of the model.
        documents: Parquet files with the documents.
    """
    facts, size = ModelFacts.read(base), folder_gb(model)
    possible = evaluated_weights(settings.dtype, facts, gpus)
    copies = [copies_on(gpus, facts, weights.width) for weights in possible]
    # A token takes about a byte of compressed text.
    tokens = sum(path.stat().st_size for path in documents)
    flops = 2.0 * facts.num_parameters * tokens
    speed = min(
        number * SLOW_EVALUATION_FLOPS[weights.device, weights.width]
        for weights, number in zip(possible, copies, strict=True)
    )
    memory = max(
        evaluation_memory_gb(weights, size, number)
        for weights, number in zip(possible, copies, strict=True)
    )
    return JobRequest(in_mb(memory), model_runtime(size, 2 * flops / speed), 0)


def sample_request(
    settings: SampleSettings,
    dtype: Dtype,
    gpus: Sequence[float],
    base: Path,
    model: Path,
) -> JobRequest:
    """Return what `sample` asks for.

    Args:
        settings: Settings of the section `sample`.
        dtype: The setting `evaluate.dtype`.
        gpus: Memory of each GPU, GB; none: it runs on CPUs.
        base: Folder of the base model.
        model: Folder of the tuned model.
    """
    facts, size = ModelFacts.read(base), folder_gb(model)
    possible = evaluated_weights(dtype, facts, gpus)
    weights = max(possible, key=lambda weights: weights.num_bytes)
    prompts = NUM_PROMPTS if settings.prompts == "auto" else len(settings.prompts)
    # Each model continues each prompt twice: the likeliest way, and a random draw.
    tokens = 2 * 2 * prompts * settings.max_new_tokens
    seconds = 2 * tokens * weights.num_bytes / SLOW_BYTES_PER_S[weights.device]
    memory = evaluation_memory_gb(weights, size, 1)
    return JobRequest(in_mb(memory), model_runtime(2 * size, seconds), 0)


class EvaluatedWeights(NamedTuple):
    """The weights of a model in the data type in which it is evaluated.

    Attributes:
        device: What computes it, `cuda` or `cpu`.
        width: Size of a weight, bytes.
        num_bytes: Size of all weights, bytes.
    """

    device: str
    width: int
    num_bytes: int


def evaluated_weights(
    dtype: Dtype, facts: ModelFacts, gpus: Sequence[float]
) -> list[EvaluatedWeights]:
    """Return the weights of a model as they may be evaluated.

    Whether the GPUs of a node compute bf16 fast is not known here, and `auto` goes by
    it.

    Args:
        dtype: The setting `evaluate.dtype`.
        facts: Facts of the base model.
        gpus: Memory of each GPU, GB; none: it is evaluated on CPUs.
    """
    device = "cuda" if gpus else "cpu"
    dtypes = {resolve_dtype(dtype, facts.dtype, device, has) for has in (True, False)}
    return [
        EvaluatedWeights(device, BYTES[each], BYTES[each] * facts.num_parameters)
        for each in sorted(dtypes)
    ]


def copies_on(gpus: Sequence[float], facts: ModelFacts, width: int) -> int:
    """Return how many copies of a model share the work; on CPUs it is one.

    Args:
        gpus: Memory of each GPU, GB.
        facts: Facts of the base model.
        width: Size of a weight, bytes.
    """
    if not gpus:
        return 1
    memory = [int(each * GB) for each in gpus]
    try:
        return len(share_gpus(facts, width, memory, len(memory)))
    except RetuneError:
        # The step will say that they are too small.
        return 1


def evaluation_memory_gb(
    weights: EvaluatedWeights, files_gb: float, copies: int
) -> float:
    """Return the main memory in which a model is evaluated, GB.

    Args:
        weights: Its weights.
        files_gb: Size of its files, GB.
        copies: Number of copies.
    """
    if weights.device == "cpu":
        # It is there twice while it is loaded.
        return PROCESS_GB + 2 * weights.num_bytes / GB
    # Tensors go to the GPUs as they are read. The files stay in the page cache, from
    # which all copies read them.
    return copies * PROCESS_GB + files_gb


def model_runtime(files_gb: float, seconds: float) -> int:
    """Return the time limit of a job that loads a model, minutes.

    Args:
        files_gb: Size of the files that are read or written, and hashed, GB.
        seconds: Time for what comes then, seconds.
    """
    return round_up(START_MINUTES + files_gb + seconds / 60, 10)


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
