"""How much memory weights, gradients and Adam's states take, and where."""

from typing import Any

GB = 1e9


def bytes_per_parameter(precision: str) -> tuple[int, int, int]:
    """Return the bytes of a weight, of its gradient and of its Adam states.

    Mixed precision keeps an fp32 copy of the weight among the states (Rajbhandari et
    al., ZeRO, 2020, section 3).
    """
    return (4, 4, 8) if precision == "fp32" else (2, 2, 12)


def adds_up_in_fp32(
    precision: str, stage: int, accumulation_steps: int, offload_optimizer: str
) -> bool:
    """Return whether `configure` has DeepSpeed add up bf16 gradients in fp32.

    In bf16 small ones would vanish. At stage 1 DeepSpeed cannot do otherwise with this
    layout of checkpoints, and the gradients of an offloaded optimizer are fp32 anyway.
    """
    return (
        precision == "bf16"
        and stage > 1
        and accumulation_steps > 1
        and offload_optimizer == "none"
    )


def model_states_bytes(
    num_parameters: int,
    precision: str,
    stage: int,
    world_size: int,
    pipeline_stages: int = 1,
    offloaded: tuple[str, ...] = (),
    gradients_in_fp32: bool = False,
) -> float:
    """Return the bytes of weights, gradients and Adam states on each rank's device.

    Each ZeRO stage shards one more part over the ranks that hold the same pipeline
    stage. What a step needs for a moment is not counted: DeepSpeed 0.19 flattens the
    gradients of one group of parameters at a time, in fp32, before Adam reads them.

    Args:
        num_parameters: Of the whole model.
        precision: fp32, bf16 or fp16.
        stage: ZeRO stage.
        world_size: Ranks.
        pipeline_stages: Parts that the model is cut into.
        offloaded: Which of `optimizer` and `param` are kept elsewhere.
        gradients_in_fp32: Whether a rank keeps its share of the gradients in fp32 from
            one micro-batch to the next (see `adds_up_in_fp32`). DeepSpeed 0.19 holds
            one such share and no other: stage 2 in `all_grad_tensors`, stage 3 in
            `grad_partitions_flat_buffer`, both of `data_types.grad_accum_dtype`.
    """
    weights, gradients, states = bytes_per_parameter(precision)
    if gradients_in_fp32:
        gradients = 4
    shares = world_size // pipeline_stages
    shards = [shares if stage >= least else 1 for least in (3, 2, 1)]
    parts = [weights / shards[0], gradients / shards[1], states / shards[2]]
    if "param" in offloaded:
        parts[0] = 0
    if "optimizer" in offloaded:
        parts[2] = 0
    return num_parameters / pipeline_stages * sum(parts)


def planned_states_bytes(
    num_parameters: int,
    plan: dict[str, Any],
    world_size: int,
    offloaded: tuple[str, ...] = (),
) -> float:
    """Return `model_states_bytes` of the values that a plan holds.

    Args:
        num_parameters: Of the whole model.
        plan: Its precision, zero_stage, gradient_accumulation_steps, offload_optimizer
            and pipeline_stages.
        world_size: Ranks.
        offloaded: Which of `optimizer` and `param` are kept elsewhere.
    """
    precision, stage = plan["precision"], plan["zero_stage"]
    return model_states_bytes(
        *(num_parameters, precision, stage, world_size, plan["pipeline_stages"]),
        offloaded,
        adds_up_in_fp32(
            *(precision, stage, plan["gradient_accumulation_steps"]),
            plan["offload_optimizer"],
        ),
    )


def offloaded_to_cpu_bytes(num_parameters: int, values: dict[str, Any]) -> float:
    """Return the bytes that all nodes together need in main memory for offloading.

    Beside Adam's states DeepSpeed keeps fp32 gradients there.

    Args:
        num_parameters: Of the whole model.
        values: The plan's precision, offload_optimizer and offload_param.
    """
    weights, _, states = bytes_per_parameter(values["precision"])
    each = 0
    if values["offload_optimizer"] == "cpu":
        each += states + 4
    if values["offload_param"] == "cpu":
        each += weights
    return float(num_parameters * each)
