"""The training loop: what each rank does, from top to bottom."""

import logging
import math
import time
from pathlib import Path

import deepspeed.comm as dist
import numpy as np
import torch

from retune.artifacts.run_spec import RunSpec
from retune.checkpoints.checkpoint_progress import CheckpointProgress
from retune.engines.trainers import Trainer, gradient_norm
from retune.measuring.device_memory import PEAKS, memory_before_gb
from retune.measuring.profiling import StepProfiler
from retune.measuring.stopwatch import Stopwatch
from retune.supervision.heartbeat import Heartbeat
from retune.supervision.stopping import StopRequest
from retune.tokens.data_shard import DataShard, StepData
from retune.tokens.prefetch import Prefetcher
from retune.training.non_finite_steps import NonFiniteSteps, beating
from retune.training.recorder import Recorder, TakenStep
from retune.training.saver import Saver
from retune.training.schedules import learning_rate, num_steps
from retune.training.setup import join_ranks, load_trainer
from retune.training.validate import validation_loss

log = logging.getLogger("retune")


def train(run: RunSpec, state: Path, stop: StopRequest, heartbeat: Heartbeat) -> bool:
    """Train to the last step, or until asked to stop.

    Leaves a checkpoint and a history in the folder `state`. A training that was
    interrupted there is continued, bit for bit.

    Args:
        run: The training.
        state: Folder of its checkpoints.
        stop: Request to save and end, read after each step.
        heartbeat: Heartbeat of this rank.

    Returns:
        Whether the last step is done.
    """
    settings, plan = run.settings, run.plan
    join_ranks(run, heartbeat)
    memory_before = memory_before_gb(plan.accelerator)
    PEAKS.restart()
    stopwatch = Stopwatch()
    trainer, resume = load_trainer(run, state, stopwatch, heartbeat)
    rank, shard = dist.get_rank(), (trainer.data_rank, trainer.data_world_size)
    data = DataShard(run.tokens, plan, settings.seed, *shard, settings.mix)
    length = data.mixture.blocks_per_epoch, plan.global_batch_size
    total = num_steps(settings, *length)
    first, skipped = (resume.step, resume.skipped) if resume else (0, 0)
    log.info("%d steps, from step %d", total, first)

    recorder = Recorder(run, state, trainer, data, stopwatch, resume)
    saver = Saver(run, state, trainer, stop, heartbeat, recorder.history.sync)
    non_finite = NonFiniteSteps(run, data.training, skipped)
    if first == 0:
        loss = validation_loss(trainer, data, 0, heartbeat)
        recorder.add_validation(0, total, loss)

    is_profiled = settings.profile and rank == 0
    with (
        Prefetcher(data.step_data, first, total) as steps,
        StepProfiler(is_profiled, state, first, total) as profiler,
    ):
        for step_data in steps:
            step = step_data.step + 1
            is_last = step == total
            torch.manual_seed(seed_of(settings.seed, rank, step_data.step))
            rate = learning_rate(settings, step_data.step, total)
            taken = take_step(trainer, step_data, rate, heartbeat)
            profiler.after_step()
            recorder.add_step(taken, step_data, steps.waited, saver.seconds)
            non_finite.check(taken, step_data)

            saver.ask_ranks()
            validated = None
            if is_last or step % settings.eval_steps == 0:
                validated = validation_loss(trainer, data, step, heartbeat)
                recorder.add_validation(step, total, validated)

            progress = CheckpointProgress(step, non_finite.count, validated)
            saver.after_step(progress, is_last)
            if saver.must_stop and not is_last:
                saver.publish()
                log.info("asked to stop: saved after step %d of %d", step, total)
                return False
    saver.publish()
    recorder.finish(memory_before)
    return True


def take_step(
    trainer: Trainer, data: StepData, rate: float, heartbeat: Heartbeat
) -> TakenStep:
    """Take one optimizer step on this rank's micro-batches; all ranks must call this.

    Args:
        trainer: Trainer with the model.
        data: Data of the step.
        rate: Learning rate of the step.
        heartbeat: Heartbeat of this rank, which beats before each micro-batch.
    """
    engine = trainer.engine
    start = time.perf_counter()
    step = data.step + 1
    skipped_before = engine.skipped_steps
    batches = beating(heartbeat, data.micro_batches, step, "training")
    # This is the one place in a step that waits for the device.
    loss = trainer.train_batch(batches, data.num_labels, rate).item()
    return TakenStep(
        step=step,
        train_loss=loss if math.isfinite(loss) else None,
        learning_rate=rate,
        grad_norm=gradient_norm(engine),
        was_skipped=engine.skipped_steps > skipped_before,
        seconds=time.perf_counter() - start,
    )


def seed_of(seed: int, rank: int, step: int) -> int:
    """Return the seed of a rank's random numbers in a step.

    A step's dropout so depends on nothing that came before, and a resumed run needs no
    random states, which DeepSpeed does not save.

    Args:
        seed: `finetune.seed`.
        rank: Rank of this process.
        step: Number of optimizer steps done before.
    """
    return int(np.random.SeedSequence([seed, rank, step]).generate_state(1, "u8")[0])
