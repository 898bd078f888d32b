"""Where a rank stands in a pipeline, and an evaluation of any number of micro-batches.

Uses `grid`, `stage_id` and `micro_batches` of `PipelineEngine`, and arguments of its
`eval_batch` that are not documented. Without these, training with
`configure.pipeline_stages` above 1 could not divide the data, scale the loss, or
compute the validation loss.

Its schedules load a micro-batch on the first and the last stage right before its
forward pass there (`LoadMicroBatch`, `ForwardPass`). With `varlen` attention a stage
that had no documents, because the order was another one, stops.
"""

from collections.abc import Iterator
from typing import Any

import deepspeed
import torch


def data_parallel_rank(engine: deepspeed.PipelineEngine) -> int:
    """Return which of the parallel pipelines this rank belongs to."""
    return engine.grid.get_data_parallel_rank()


def data_parallel_world_size(engine: deepspeed.PipelineEngine) -> int:
    """Return the number of parallel pipelines."""
    return engine.grid.get_data_parallel_world_size()


def stage_of(engine: deepspeed.PipelineEngine) -> int:
    """Return this rank's stage, counted from 0."""
    return engine.stage_id


def accumulation_steps(engine: deepspeed.PipelineEngine) -> int:
    """Return the number of micro-batches of an optimizer step."""
    return engine.micro_batches


def evaluate_micro_batches(
    engine: deepspeed.PipelineEngine, inputs: Iterator[Any], count: int
) -> list[torch.Tensor] | None:
    """Return the loss of each micro-batch on the last stage; None on the others.

    Args:
        engine: The engine.
        inputs: What `train_batch` takes, too.
        count: Number of micro-batches to evaluate.
    """
    losses = engine.eval_batch(
        inputs, reduce_output=None, bcast_loss=False, num_micro_batches=count
    )
    return losses if engine.is_last_stage() else None
