"""The training loop: what each rank does, from top to bottom."""

import logging
import math
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import deepspeed
import deepspeed.comm as dist
import numpy as np
import torch
from torch.distributed import is_initialized
from transformers import AutoConfig, AutoModelForCausalLM

from retune.errors import RetuneError
from retune.publishing import read_json
from retune.settings import FinetuneSettings
from retune.training.checkpoint_files import check_disk, checkpoint_bytes
from retune.training.checkpoints import Checkpoints
from retune.training.data_parallel import DataParallel
from retune.training.heartbeat import Heartbeat
from retune.training.history import History
from retune.training.live_weights import describe_weights
from retune.training.models import add_adapters, check_isolation, load_model
from retune.training.optimizers import build_optimizer
from retune.training.order import blocks_of_step, share_of_rank
from retune.training.packing import IGNORE_INDEX, Batch, PackedBlocks
from retune.training.pipeline import Pipeline, load_pipeline
from retune.training.pipeline_layers import layer_files
from retune.training.prefetch import Prefetcher
from retune.training.resume import Resume, find_resume, load
from retune.training.schedules import learning_rate, num_steps
from retune.training.speed import (
    Stopwatch,
    model_flops_per_token,
    multiplying_weights,
    peak_flops,
    peak_memory_gb,
)
from retune.training.stopping import StopRequest
from retune.training.swap_folders import use_own_folder

log = logging.getLogger("retune")

Trainer = DataParallel | Pipeline


@dataclass(frozen=True)
class StepData:
    """What one optimizer step trains on.

    Attributes:
        step: Optimizer steps done before it.
        blocks: Block numbers of the global batch, int64 [global_batch_size].
        num_labels: Predicted tokens of the global batch.
        micro_batches: This rank's share, one per accumulation step.
    """

    step: int
    blocks: np.ndarray
    num_labels: int
    micro_batches: list[Batch]


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
    training = PackedBlocks(tokens, "train")
    batch_size = plan["global_batch_size"]
    total = num_steps(settings, len(training), batch_size)

    heartbeat.beat(0, "joining the other ranks")
    start_process_group(plan, settings.ddp_timeout)
    heartbeat.beat(0, "loading")
    stopwatch = Stopwatch()
    resume = find_resume(state, plan)
    config = read_json(plan_folder / "deepspeed.json")
    use_own_folder(config, state.name)
    trainer = build_trainer(settings, base, plan, config, resume, stopwatch)
    engine = trainer.engine
    if resume:
        load(engine, resume)
    first, skipped = (resume.step, resume.skipped) if resume else (0, 0)
    if dist.get_rank() == 0:
        size = checkpoint_bytes(plan, num_trained(engine))
        check_disk(state, size, settings.save_total_limit)
    dist.barrier()

    validation = list(validation_batches(PackedBlocks(tokens, "validation"), trainer))
    checkpoints = Checkpoints(state, settings.save_total_limit)
    history = History(state, first, dist.get_rank())
    log.info("%d steps of %d sequences, from step %d", total, batch_size, first)
    if first == 0:
        loss = trainer.mean_loss(beating(heartbeat, validation, 0, "validation"))
        history.write(step=0, validation_loss=finite(loss, 0))

    def data_of_step(step: int) -> StepData:
        blocks = blocks_of_step(step, batch_size, len(training), settings.seed)
        mine = share_of_rank(
            *(blocks, trainer.data_rank, trainer.data_world_size),
            plan["micro_batch_size"],
        )
        batches = [pinned(training.batch(b), engine.device) for b in mine]
        return StepData(step, blocks, training.num_labels(blocks), batches)

    flops = flops_per_token(trainer, base, training.sequence_length)
    peak = device_flops(plan)
    save_seconds = 0.0
    with Prefetcher(data_of_step, first, total) as steps:
        for data in steps:
            start = time.perf_counter()
            done = data.step + 1
            torch.manual_seed(seed_of(settings.seed, dist.get_rank(), data.step))
            rate = learning_rate(settings, data.step, total)
            skipped_before = engine.skipped_steps
            loss = trainer.train_batch(
                beating(heartbeat, data.micro_batches, done, "training"),
                data.num_labels,
                rate,
            ).item()
            was_skipped = engine.skipped_steps > skipped_before
            record: dict[str, Any] = {
                "step": done,
                "epoch": round(done * batch_size / len(training), 4),
                "train_loss": loss if math.isfinite(loss) else None,
                "learning_rate": rate,
                "grad_norm": gradient_norm(engine),
                "num_labels": data.num_labels,
                "num_tokens": batch_size * training.sequence_length,
                "seconds": time.perf_counter() - start + steps.waited,
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
            if not math.isfinite(loss) or (was_skipped and plan["precision"] != "fp16"):
                skipped += 1
                tell_skipped(settings, training, data, loss, skipped)

            must_stop, is_hashing = any_rank(
                engine, stop.requested, checkpoints.is_hashing
            )
            facts: dict[str, Any] = {"step": done, "skipped": skipped}
            last = done == total
            if last or done % settings.eval_steps == 0:
                loss = trainer.mean_loss(
                    beating(heartbeat, validation, done, "validation")
                )
                facts["validation_loss"] = finite(loss, done)
                record["validation_loss"] = loss
                log.info(
                    "step %d of %d: training loss %s, validation loss %.3f",
                    *(done, total, record["train_loss"], loss),
                )
            history.write(**record)

            start = time.perf_counter()
            if last or must_stop or done % settings.save_steps == 0:
                heartbeat.beat(done, "saving")
                history.sync()
                checkpoints.save(engine, weights_of(trainer, settings), plan, facts)
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


def start_process_group(plan: dict[str, Any], timeout: int) -> None:
    """Join the other ranks; a collective that lasts longer than `timeout` s fails."""
    if is_initialized():
        return
    # On a CPU DeepSpeed would compile its shared-memory collectives now, for minutes;
    # gloo does without.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    if plan["hardware"]["accelerator"] == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    deepspeed.init_distributed(timeout=timedelta(seconds=timeout))


def build_trainer(
    settings: FinetuneSettings,
    base: Path,
    plan: dict[str, Any],
    config: dict[str, Any],
    resume: Resume | None,
    stopwatch: Stopwatch,
) -> Trainer:
    """Return the model in a DeepSpeed engine, ready to take steps."""
    if resume and resume.is_universal:
        config["checkpoint"] = {"load_universal": True}
    if plan["pipeline_stages"] > 1:
        model = load_pipeline(base, plan)
    else:
        model = load_model(base, plan, config)
    if settings.lora:
        # The same on all ranks, at every ZeRO stage.
        torch.manual_seed(settings.seed)
        model = add_adapters(model, settings.lora)
    engine, *_ = deepspeed.initialize(
        model=model, optimizer=build_optimizer(model, settings, plan), config=config
    )
    if plan["pipeline_stages"] > 1:
        return Pipeline(engine)
    check_isolation(engine)
    return DataParallel(engine, stopwatch)


def num_trained(engine: deepspeed.DeepSpeedEngine) -> int:
    """Return this rank's trained parameters; under ZeRO-3 those of the whole model."""
    return sum(
        getattr(p, "ds_numel", p.numel())
        for p in engine.module.parameters()
        if p.requires_grad
    )


def seed_of(seed: int, rank: int, step: int) -> int:
    """Return the seed of a rank's random numbers in a step.

    So a step's dropout depends on nothing that came before: a resumed run needs no
    random states (which DeepSpeed does not save).
    """
    return int(np.random.SeedSequence([seed, rank, step]).generate_state(1, "u8")[0])


def pinned(batch: Batch, device: torch.device) -> Batch:
    """Return a batch whose way to a GPU nobody has to wait for."""
    if device.type == "cpu":
        return batch
    arrays = (batch.input_ids, batch.position_ids, batch.labels)
    return Batch(*(torch.from_numpy(array).pin_memory() for array in arrays))


def validation_batches(data: PackedBlocks, trainer: Trainer) -> Iterator[Batch]:
    """Yield this rank's share of all validation blocks.

    Every rank gets equally many, as ZeRO-3 and pipelines need; the places that are
    left over predict nothing.
    """
    micro = trainer.engine.train_micro_batch_size_per_gpu()
    for start in range(0, len(data), trainer.data_world_size * micro):
        first = start + trainer.data_rank * micro
        places = range(first, first + micro)
        batch = data.batch(np.array([place % len(data) for place in places]))
        for row, place in enumerate(places):
            if place >= len(data):
                batch.labels[row] = IGNORE_INDEX
        yield batch


def beating(
    heartbeat: Heartbeat, batches: Iterable[Batch], step: int, phase: str
) -> Iterator[Batch]:
    """Yield batches with a sign of life before each."""
    for batch in batches:
        heartbeat.beat(step, phase)
        yield batch


def gradient_norm(engine: deepspeed.DeepSpeedEngine) -> float | None:
    """Return the norm before clipping; None at stage 0, and where it is not finite."""
    norm = engine.get_global_grad_norm()
    return float(norm) if norm is not None and math.isfinite(norm) else None


def any_rank(engine: deepspeed.DeepSpeedEngine, *flags: bool) -> list[bool]:
    """Return for each flag whether it is set on any rank; the same on all ranks."""
    counts = torch.tensor([float(flag) for flag in flags], device=engine.device)
    dist.all_reduce(counts)
    return [count > 0 for count in counts.tolist()]


def finite(loss: float, step: int) -> float:
    """Return a validation loss; raise RetuneError if it is no number."""
    if not math.isfinite(loss):
        raise RetuneError(
            f"the validation loss is {loss} after step {step}: lower"
            " finetune.learning_rate, or look at the data"
        )
    return loss


def tell_skipped(
    settings: FinetuneSettings,
    training: PackedBlocks,
    data: StepData,
    loss: float,
    skipped: int,
) -> None:
    """Log a step that was not finite; raise RetuneError after too many of them."""
    rows = training.documents_of(data.blocks)
    shown = ", ".join(map(str, rows[:8])) + (", ..." if len(rows) > 8 else "")
    where = (
        f"step {data.step + 1} (the loss is {loss}; documents {shown}, counted from 0,"
        " of data/clean/train.parquet)"
    )
    if skipped > settings.max_skipped_steps:
        raise RetuneError(
            f"loss or gradients were not finite in {skipped} steps"
            f" (finetune.max_skipped_steps: {settings.max_skipped_steps}), lately in"
            f" {where}: lower finetune.learning_rate, or look at those documents"
        )
    log.warning("skipped %s: loss or gradients are not finite", where)


def flops_per_token(trainer: Trainer, base: Path, sequence_length: int) -> float | None:
    """Return the FLOPs per token of the whole model, None if not known."""
    config = AutoConfig.from_pretrained(
        base, trust_remote_code=False, local_files_only=True
    )
    model = trainer.engine.module
    if isinstance(trainer, Pipeline):
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    return model_flops_per_token(config, *multiplying_weights(model), sequence_length)


def device_flops(plan: dict[str, Any]) -> float | None:
    """Return the FLOP/s of a rank's device in the run's precision, None if unknown."""
    if plan["peak_tflops"]:
        return plan["peak_tflops"] * 1e12
    if plan["hardware"]["accelerator"] == "cpu":
        return None
    return peak_flops(torch.cuda.get_device_name(), plan["precision"])


def weights_of(trainer: Trainer, settings: FinetuneSettings) -> dict[str, Any]:
    """Return what a checkpoint says of the model: hashes, and how to put it together.

    All ranks must call this.
    """
    weights: dict[str, Any] = {"tensors": describe_weights(trainer)}
    if settings.lora:
        (config,) = trainer.engine.module.peft_config.values()
        weights["lora"] = {
            key: sorted(value) if isinstance(value, set) else value
            for key, value in config.to_dict().items()
        }
    if isinstance(trainer, Pipeline):
        parts: list[Any] = [None] * dist.get_world_size()
        dist.all_gather_object(parts, layer_files(trainer.engine.module))
        weights["layers"] = {
            file: names for part in parts for file, names in part.items()
        }
    return weights
