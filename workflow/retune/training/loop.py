"""The training loop: what each rank does, from top to bottom."""

import logging
import math
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import deepspeed.comm as dist
import numpy as np
import torch

from retune.errors import RetuneError
from retune.publishing import read_json
from retune.quantities import counted
from retune.settings import FinetuneSettings
from retune.training.batches import ShareOfData, StepData
from retune.training.checkpoint_files import check_disk, checkpoint_bytes
from retune.training.checkpoints import Checkpoints
from retune.training.heartbeat import Heartbeat
from retune.training.history import History
from retune.training.packing import Batch, PackedBlocks
from retune.training.prefetch import Prefetcher
from retune.training.resume import find_resume, load
from retune.training.schedules import learning_rate, num_steps
from retune.training.speed import Stopwatch, peak_memory_gb
from retune.training.stopping import StopRequest
from retune.training.swap_folders import use_own_folder
from retune.training.trainers import (
    Trainer,
    any_rank,
    build_trainer,
    describe_model,
    device_flops,
    flops_per_token,
    gradient_norm,
    num_trained,
    start_process_group,
)
from retune.training.verified_inputs import verify_share

log = logging.getLogger("retune")


def train(
    settings: FinetuneSettings,
    base: Path,
    tokens: Path,
    plan_folder: Path,
    state: Path,
    stop: StopRequest,
    heartbeat: Heartbeat,
) -> bool:
    """Train to the last step, or until asked to stop.

    Leaves a checkpoint and a history under `state`; what an earlier try left there is
    continued, bit for bit.

    Returns:
        Whether the last step is done.
    """
    plan = read_json(plan_folder / "plan.json")
    config = read_json(plan_folder / "deepspeed.json")
    use_own_folder(config, state.name)

    heartbeat.beat(0, "verifying")
    verify_share(base, tokens, plan, heartbeat)
    heartbeat.beat(0, "joining the other ranks")
    start_process_group(plan, settings.ddp_timeout)
    # Nobody passes unless all have found their share of the files good.
    dist.barrier()
    rank = dist.get_rank()
    heartbeat.beat(0, "loading")
    resume = find_resume(state, plan)
    if resume and resume.is_universal:
        config["checkpoint"] = {"load_universal": True}
    stopwatch = Stopwatch()
    trainer = build_trainer(settings, base, plan, config, stopwatch)
    if resume:
        load(trainer, resume)
    size = checkpoint_bytes(plan, num_trained(trainer))
    if rank == 0:
        check_disk(state, size, settings.save_total_limit)
    dist.barrier()

    share = ShareOfData(
        *(tokens, plan, settings.seed),
        *(trainer.data_rank, trainer.data_world_size),
    )
    total = num_steps(settings, len(share.training), plan["global_batch_size"])
    first, skipped = (resume.step, resume.skipped) if resume else (0, 0)
    log.info("%d steps, from step %d", total, first)
    checkpoints = Checkpoints(state, settings.save_total_limit)
    history = History(state, resume, rank)
    flops = flops_per_token(trainer, base, share.training.sequence_length)
    peak = device_flops(plan)

    def validate(step: int) -> float:
        batches = share.of_validation()
        loss = trainer.mean_loss(beating(heartbeat, batches, step, "validation"))
        return finite(loss, step)

    if first == 0:
        history.write(step=0, validation_loss=validate(0))

    model: dict[str, Any] | None = None
    save_seconds = 0.0
    with Prefetcher(share.of_step, first, total) as steps:
        for data in steps:
            done = data.step + 1
            last = done == total
            torch.manual_seed(seed_of(settings.seed, rank, data.step))
            record = take_step(
                trainer, data, learning_rate(settings, data.step, total), heartbeat
            )
            record["seconds"] += steps.waited
            record |= {
                "epoch": round(
                    done * plan["global_batch_size"] / len(share.training), 4
                ),
                "num_tokens": len(data.blocks) * share.training.sequence_length,
                "data_seconds": steps.waited,
                **stopwatch.read(),
                # What the last step's saving held up, before this one.
                "save_seconds": save_seconds,
                "peak_memory_gb": peak_memory_gb(),
            }
            if flops and peak:
                speed = record["num_tokens"] / record["seconds"] / plan["world_size"]
                record["mfu"] = flops * speed / peak
            # Dynamic loss scaling skips steps to find its scale: those are no news.
            is_news = record["was_skipped"] and plan["precision"] != "fp16"
            if is_news or record["train_loss"] is None:
                skipped += 1
                tell_skipped(settings, share.training, data, skipped)

            must_stop, is_hashing = any_rank(
                trainer.engine, stop.requested, checkpoints.is_hashing
            )
            facts: dict[str, Any] = {"step": done, "skipped": skipped}
            if last or done % settings.eval_steps == 0:
                loss = validate(done)
                record["validation_loss"] = facts["validation_loss"] = loss
                shown = done, total, record["train_loss"] or math.nan, loss
                log.info(
                    "step %d of %d: training loss %.3f, validation loss %.3f", *shown
                )
            history.write(**record)

            start = time.perf_counter()
            if last or must_stop or done % settings.save_steps == 0:
                heartbeat.beat(done, "saving")
                history.sync()
                model = describe_model(trainer, model)
                checkpoints.save(trainer.engine, model, plan, facts)
            elif checkpoints.is_unpublished and not is_hashing:
                checkpoints.publish()
            save_seconds = time.perf_counter() - start
            if must_stop and not last:
                checkpoints.publish()
                log.info("asked to stop: saved after step %d of %d", done, total)
                return False
    checkpoints.publish()
    memory: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(memory, peak_memory_gb())
    history.finish(peak_memory_gb=memory, flops_per_token=flops, device_flops=peak)
    return True


def take_step(
    trainer: Trainer, data: StepData, rate: float, heartbeat: Heartbeat
) -> dict[str, Any]:
    """Take one optimizer step; return what the history says of it.

    `train_loss` is None if it is not finite; `was_skipped` says whether DeepSpeed
    found the gradients not finite and left the weights as they were.
    """
    engine = trainer.engine
    start = time.perf_counter()
    done = data.step + 1
    skipped_before = engine.skipped_steps
    batches = beating(heartbeat, data.micro_batches, done, "training")
    # The one place in a step that waits for the device.
    loss = trainer.train_batch(batches, data.num_labels, rate).item()
    return {
        "step": done,
        "train_loss": loss if math.isfinite(loss) else None,
        "learning_rate": rate,
        "grad_norm": gradient_norm(engine),
        "num_labels": data.num_labels,
        "was_skipped": engine.skipped_steps > skipped_before,
        "seconds": time.perf_counter() - start,
    }


def seed_of(seed: int, rank: int, step: int) -> int:
    """Return the seed of a rank's random numbers in a step.

    So a step's dropout depends on nothing that came before: a resumed run needs no
    random states (which DeepSpeed does not save).
    """
    return int(np.random.SeedSequence([seed, rank, step]).generate_state(1, "u8")[0])


def beating(
    heartbeat: Heartbeat, batches: Iterable[Batch], step: int, phase: str
) -> Iterator[Batch]:
    """Yield batches with a sign of life before each."""
    for batch in batches:
        heartbeat.beat(step, phase)
        yield batch


def finite(loss: float, step: int) -> float:
    """Return a validation loss; raise RetuneError if it is no number."""
    if not math.isfinite(loss):
        raise RetuneError(
            f"the validation loss is {loss} after step {step}: lower"
            " finetune.learning_rate, or look at the data"
        )
    return loss


def tell_skipped(
    settings: FinetuneSettings, training: PackedBlocks, data: StepData, skipped: int
) -> None:
    """Log a step that was not finite; raise RetuneError after too many of them."""
    rows = training.documents_of(data.blocks)
    shown = ", ".join(map(str, rows[:8])) + (", ..." if len(rows) > 8 else "")
    where = (
        f"step {data.step + 1} (documents {shown}, counted from 0, of"
        " data/clean/train.parquet)"
    )
    if skipped > settings.max_skipped_steps:
        raise RetuneError(
            f"loss or gradients were not finite in {counted(skipped, 'step')}"
            f" (finetune.max_skipped_steps: {settings.max_skipped_steps}), lately in"
            f" {where}: lower finetune.learning_rate, or look at those documents"
        )
    log.warning("skipped %s: loss or gradients are not finite", where)
