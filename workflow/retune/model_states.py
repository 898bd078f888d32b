"""How much memory weights, gradients and Adam's states take, and where."""

from typing import Any

GB = 1e9


def bytes_per_parameter(precision: str) -> tuple[int, int, int]:
    """Return the bytes of a weight, of its gradient and of its Adam states.

    Mixed precision keeps an fp32 copy of the weight among the states (Rajbhandari et
    al., ZeRO, 2020, section 3).
    """
    return (4, 4, 8) if precision == "fp32" else (2, 2, 12)


def model_states_bytes(
    num_parameters: int,
    precision: str,
    stage: int,
    world_size: int,
    pipeline_stages: int = 1,
    offloaded: tuple[str, ...] = (),
) -> float:
    """Return the bytes of weights, gradients and Adam states on each rank's device.

    Each ZeRO stage shards one more part over the ranks that hold the same pipeline
    stage.

    Args:
        num_parameters: Of the whole model.
        precision: fp32, bf16 or fp16.
        stage: ZeRO stage.
        world_size: Ranks.
        pipeline_stages: Parts that the model is cut into.
        offloaded: Which of `optimizer` and `param` are kept elsewhere.
    """
    weights, gradients, states = bytes_per_parameter(precision)
    shares = world_size // pipeline_stages
    shards = [shares if stage >= least else 1 for least in (3, 2, 1)]
    parts = [weights / shards[0], gradients / shards[1], states / shards[2]]
    if "param" in offloaded:
        parts[0] = 0
    if "optimizer" in offloaded:
        parts[2] = 0
    return num_parameters / pipeline_stages * sum(parts)


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
