"""The DeepSpeed config of a plan."""

from typing import Any

from retune.model_states import adds_up_in_fp32

# Dynamic loss scaling for fp16, with DeepSpeed's own numbers.
LOSS_SCALING = {
    "enabled": True,
    "loss_scale": 0,
    "initial_scale_power": 16,
    "loss_scale_window": 1000,
    "hysteresis": 2,
    "min_loss_scale": 1,
}


def deepspeed_config(
    values: dict[str, Any], nvme_path: str | None = None
) -> dict[str, Any]:
    """Return the DeepSpeed config: complete, with no "auto" left."""
    zero: dict[str, Any] = {
        "stage": values["zero_stage"],
        "contiguous_gradients": True,
        "overlap_comm": True,
        "reduce_bucket_size": int(5e7),
        "allgather_bucket_size": int(5e7),
    }
    if values["zero_stage"] == 3:
        zero |= {
            "stage3_prefetch_bucket_size": int(5e7),
            "stage3_param_persistence_threshold": int(1e5),
        }
    for key in ("offload_optimizer", "offload_param"):
        if values[key] != "none":
            zero[key] = {"device": values[key], "pin_memory": True}
        if values[key] == "nvme":
            zero[key]["nvme_path"] = nvme_path
    is_fp16 = values["precision"] == "fp16"
    in_fp32 = adds_up_in_fp32(
        *(values["precision"], values["zero_stage"]),
        *(values["gradient_accumulation_steps"], values["offload_optimizer"]),
    )
    data_types = {"data_types": {"grad_accum_dtype": "fp32"}} if in_fp32 else {}
    return {
        "train_batch_size": values["global_batch_size"],
        "train_micro_batch_size_per_gpu": values["micro_batch_size"],
        "gradient_accumulation_steps": values["gradient_accumulation_steps"],
        "gradient_clipping": values["gradient_clipping"],
        "fp16": LOSS_SCALING if is_fp16 else {"enabled": False},
        "bf16": {"enabled": values["precision"] == "bf16"},
        **data_types,
        "zero_optimization": zero,
        # The loop logs its own steps.
        "steps_per_print": 2**31,
        "wall_clock_breakdown": False,
    }
