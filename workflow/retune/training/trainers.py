"""The model in a DeepSpeed engine, data parallel or as a pipeline, and what it says."""

import math
import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import deepspeed
import deepspeed.comm as dist
import torch
from torch.distributed import is_initialized

from retune.artifacts.model_facts import ModelFacts
from retune.models.skeleton import build_skeleton
from retune.settings import FinetuneSettings
from retune.training.data_parallel import DataParallel
from retune.training.live_weights import describe_weights
from retune.training.models import add_adapters, check_isolation, load_model
from retune.training.optimizers import build_optimizer
from retune.training.pipeline import Pipeline, load_pipeline
from retune.training.pipeline_layers import layer_files
from retune.training.speed import (
    Stopwatch,
    model_flops_per_token,
    multiplying_weights,
    peak_flops,
)

Trainer = DataParallel | Pipeline


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
    stopwatch: Stopwatch,
) -> Trainer:
    """Return the model in an engine, ready to take steps.

    Args:
        settings: Of `finetune`.
        base: The base model's folder.
        plan: What `configure` resolved.
        config: The DeepSpeed config.
        stopwatch: Gets the parts of each step, but for pipelines.
    """
    if plan["pipeline_stages"] > 1:
        model = load_pipeline(base, plan)
    else:
        model = load_model(base, plan, config)
    if settings.lora:
        # The same on all ranks, at every ZeRO stage.
        torch.manual_seed(settings.seed)
        model = add_adapters(model, ModelFacts.read(base), settings.lora)
    engine, *_ = deepspeed.initialize(
        model=model, optimizer=build_optimizer(model, settings, plan), config=config
    )
    if plan["pipeline_stages"] > 1:
        return Pipeline(engine)
    check_isolation(engine)
    return DataParallel(engine, stopwatch)


def num_trained(trainer: Trainer) -> int:
    """Return the number of trained parameters of the whole model.

    All ranks must call this: each stage of a pipeline counts its own.
    """
    mine = sum(
        getattr(p, "ds_numel", p.numel())
        for p in trainer.engine.module.parameters()
        if p.requires_grad
    )
    counts: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(counts, mine)
    return sum(counts) // trainer.data_world_size


def gradient_norm(engine: deepspeed.DeepSpeedEngine) -> float | None:
    """Return the norm before clipping; None at stage 0, and where it is not finite."""
    norm = engine.get_global_grad_norm()
    return float(norm) if norm is not None and math.isfinite(norm) else None


def any_rank(engine: deepspeed.DeepSpeedEngine, *flags: bool) -> list[bool]:
    """Return for each flag whether it is set on any rank; the same on all ranks."""
    counts = torch.tensor([float(flag) for flag in flags], device=engine.device)
    dist.all_reduce(counts)
    return [count > 0 for count in counts.tolist()]


def flops_per_token(trainer: Trainer, base: Path, sequence_length: int) -> float | None:
    """Return the FLOPs per token of the whole model, None if not known."""
    model = trainer.engine.module
    if isinstance(trainer, Pipeline):
        model = build_skeleton(base)
    weights = multiplying_weights(model)
    return model_flops_per_token(model.config, *weights, sequence_length)


def device_flops(plan: dict[str, Any]) -> float | None:
    """Return the FLOP/s of a rank's device in the run's precision, None if unknown."""
    if plan["peak_tflops"]:
        return plan["peak_tflops"] * 1e12
    if plan["hardware"]["accelerator"] == "cpu":
        return None
    return peak_flops(torch.cuda.get_device_name(), plan["precision"])


def describe_model(trainer: Trainer, earlier: dict[str, Any] | None) -> dict[str, Any]:
    """Return the live weights' hashes, and how a checkpoint's parts make the model.

    All ranks must call this.

    Args:
        trainer: Holds the weights.
        earlier: What this returned before, if it was called before.
    """
    module = trainer.engine.module
    tensors = describe_weights(trainer, earlier and earlier["tensors"])
    described: dict[str, Any] = {"tensors": tensors}
    if hasattr(module, "peft_config"):
        (config,) = module.peft_config.values()
        described["lora"] = {
            key: sorted(value) if isinstance(value, set) else value
            for key, value in config.to_dict().items()
        }
    if isinstance(trainer, Pipeline):
        parts: list[Any] = [None] * dist.get_world_size()
        dist.all_gather_object(parts, layer_files(module))
        described["layers"] = {
            file: names for part in parts for file, names in part.items()
        }
    return described
