"""The start of a rank: join the others, load the model, and resume an earlier start."""

from pathlib import Path

import deepspeed.comm as dist

from retune.artifacts.run_spec import RunSpec
from retune.checkpoints.checkpoint_files import check_disk
from retune.checkpoints.resume import Resume, find_resume, load
from retune.engines.swap_folders import config_with_swap_folder
from retune.engines.trainers import (
    Trainer,
    build_trainer,
    num_trained,
    start_process_group,
)
from retune.measuring.device_memory import PEAKS
from retune.measuring.stopwatch import Stopwatch
from retune.planning.memory import checkpoint_bytes
from retune.supervision.heartbeat import Heartbeat
from retune.training.verified_inputs import verify_large_files


def join_ranks(run: RunSpec, heartbeat: Heartbeat) -> None:
    """Join the other ranks, once all have found their input files good."""
    heartbeat.beat(0, "verifying")
    verify_large_files(run, heartbeat)
    heartbeat.beat(0, "joining the other ranks")
    start_process_group(run.plan, run.settings.ddp_timeout)
    # No rank goes on before all have verified their files.
    dist.barrier()


def load_trainer(
    run: RunSpec, state: Path, stopwatch: Stopwatch, heartbeat: Heartbeat
) -> tuple[Trainer, Resume | None]:
    """Return the model in an engine, as the newest checkpoint has it.

    Args:
        run: The training.
        state: Folder of its checkpoints.
        stopwatch: Stopwatch of the passes of a step.
        heartbeat: Heartbeat of this rank.

    Returns:
        The trainer, and what was resumed; None for a new run.

    Raises:
        RetuneError: If the checkpoints are damaged, or will not fit on the disk.
    """
    heartbeat.beat(0, "loading")
    config = config_with_swap_folder(run, state.name)
    resume = find_resume(state, run.plan)
    if resume and resume.is_universal:
        config["checkpoint"] = {"load_universal": True}
    trainer = build_trainer(run, config, stopwatch, heartbeat.go_on)
    if resume:
        load(trainer, resume)
        PEAKS.end("resume")
    size = checkpoint_bytes(run.plan, num_trained(trainer))
    if dist.get_rank() == 0:
        check_disk(state, size, run.settings.save_total_limit)
    dist.barrier()
    return trainer, resume
