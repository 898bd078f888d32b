"""The model in a DeepSpeed engine, data parallel or as a pipeline."""

import math
import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import deepspeed
import deepspeed.comm as dist
import torch
from torch import nn
from torch.distributed import is_initialized

from retune.artifacts.model_facts import ModelFacts
from retune.artifacts.plan import Plan
from retune.artifacts.run_spec import RunSpec
from retune.compat.deepspeed_operators import forgo_shared_memory_collectives
from retune.compat.deepspeed_parameters import whole_numel
from retune.engines.data_parallel import DataParallel
from retune.engines.loss_in_forward import compute_loss_in_forward
from retune.engines.optimizers import build_optimizer
from retune.engines.pipeline import Pipeline, load_pipeline
from retune.measuring.device_memory import PEAKS
from retune.measuring.model_flops import model_flops_per_token, multiplying_weights
from retune.measuring.stopwatch import Stopwatch
from retune.models.adapters import add_adapters
from retune.models.four_bit_weights import check_4bit_kernels
from retune.models.isolation import check_isolation
from retune.models.loading import load_model
from retune.models.skeleton import build_skeleton

Trainer = DataParallel | Pipeline


def start_process_group(plan: Plan, timeout: int) -> None:
    """Join the other ranks, unless this process has joined them before.

    Args:
        plan: The plan of the training.
        timeout: Seconds after which a collective operation fails.
    """
    if is_initialized():
        return
    forgo_shared_memory_collectives()
    if plan.accelerator == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    deepspeed.init_distributed(timeout=timedelta(seconds=timeout))


def build_trainer(
    run: RunSpec,
    config: dict[str, Any],
    stopwatch: Stopwatch,
    go_on: Callable[[], None] = lambda: None,
) -> Trainer:
    """Return the model in an engine, ready to take steps.

    Args:
        run: The training.
        config: DeepSpeed config of this start.
        stopwatch: Stopwatch that measures the passes of each step; a pipeline's are
            not measured.
        go_on: Called now and then while a model is loaded that takes long.
    """
    settings, plan = run.settings, run.plan
    if plan.pipeline_stages > 1:
        return Pipeline(build_engine(load_pipeline(run.base, plan), run, config))
    facts = ModelFacts.read(run.base)
    in_4bit = settings.lora is not None and settings.lora.load_in_4bit
    base = load_model(run.base, plan, config, in_4bit, go_on)
    model: nn.Module = base
    if settings.lora:
        # The adapters must start the same on all ranks and at every ZeRO stage.
        torch.manual_seed(settings.seed)
        model = add_adapters(base, facts, settings.lora)
    if plan.chunked_cross_entropy and facts.output_head:
        compute_loss_in_forward(base, facts.output_head)
    engine = build_engine(model, run, config)
    if in_4bit:
        check_4bit_kernels(engine.module)
    check_isolation(engine)
    return DataParallel(engine, stopwatch)


def build_engine(
    model: nn.Module, run: RunSpec, config: dict[str, Any]
) -> deepspeed.DeepSpeedEngine:
    """Return a DeepSpeed engine around a model that was loaded, with its optimizer."""
    PEAKS.end("load")
    optimizer = build_optimizer(model, run.settings, run.plan)
    engine, *_ = deepspeed.initialize(model=model, optimizer=optimizer, config=config)
    PEAKS.end("optimizer_init")
    return engine


def num_trained(trainer: Trainer) -> int:
    """Return the number of trained parameters of the whole model.

    All ranks must call this, because each stage of a pipeline counts its own.
    """
    own = sum(
        whole_numel(p) for p in trainer.engine.module.parameters() if p.requires_grad
    )
    counts: list[int] = [0] * dist.get_world_size()
    dist.all_gather_object(counts, own)
    return sum(counts) // trainer.data_world_size


def gradient_norm(engine: deepspeed.DeepSpeedEngine) -> float | None:
    """Return the norm of the last step's gradient before clipping.

    None at ZeRO stage 0, where DeepSpeed has none, and where it is not finite.
    """
    norm = engine.get_global_grad_norm()
    return float(norm) if norm is not None and math.isfinite(norm) else None


def any_rank(engine: deepspeed.DeepSpeedEngine, *flags: bool) -> list[bool]:
    """Return for each flag whether it is set on any rank.

    All ranks must call this; all get the same answer.
    """
    counts = torch.tensor([float(flag) for flag in flags], device=engine.device)
    dist.all_reduce(counts)
    return [count > 0 for count in counts.tolist()]


def flops_per_token(trainer: Trainer, base: Path, sequence_length: int) -> float | None:
    """Return the FLOPs of a training step per token, of the whole model.

    Args:
        trainer: Trainer with the model.
        base: Folder of the base model.
        sequence_length: Tokens per sequence.

    Returns:
        None where they are not known (see `model_flops_per_token`).
    """
    model = trainer.engine.module
    if isinstance(trainer, Pipeline):
        model = build_skeleton(base)
    weights = multiplying_weights(model)
    return model_flops_per_token(model.config, *weights, sequence_length)


def device_name(plan: Plan) -> str:
    """Return what a rank computes on: `cpu`, or the name of its GPU."""
    if plan.accelerator == "cpu":
        return "cpu"
    return torch.cuda.get_device_name()
