"""The DeepSpeed config of a plan."""

from typing import Any

from retune.artifacts.plan import Plan
from retune.planning.memory import accumulates_in_fp32

# Dynamic loss scaling for fp16, with DeepSpeed's defaults.
LOSS_SCALING = {
    "enabled": True,
    "loss_scale": 0,
    "initial_scale_power": 16,
    "loss_scale_window": 1000,
    "hysteresis": 2,
    "min_loss_scale": 1,
}
# Elements of the buckets in which gradients are reduced, and weights gathered.
REDUCE_BUCKET_SIZE = 50_000_000


def overlaps_communication(plan: Plan) -> bool:
    """Return whether gradients are reduced during the backward pass.

    It makes the host wait for a GPU after each micro-batch (DeepSpeed 0.19), and takes
    a second bucket. A single rank has nothing to send meanwhile.
    """
    return plan.data_parallel_size > 1


def deepspeed_config(plan: Plan) -> dict[str, Any]:
    """Return the DeepSpeed config: complete, with no "auto" left.

    Only `nvme_path` is missing where the plan offloads to NVMe: `finetune` adds it,
    because where a disk is mounted decides nothing of the result.
    """
    zero: dict[str, Any] = {
        "stage": plan.zero_stage,
        "contiguous_gradients": True,
        "overlap_comm": overlaps_communication(plan),
        "reduce_bucket_size": REDUCE_BUCKET_SIZE,
        "allgather_bucket_size": REDUCE_BUCKET_SIZE,
    }
    if plan.zero_stage == 3:
        zero |= {
            "stage3_prefetch_bucket_size": REDUCE_BUCKET_SIZE,
            "stage3_param_persistence_threshold": int(1e5),
        }
    offload = {
        "offload_optimizer": plan.offload_optimizer,
        "offload_param": plan.offload_param,
    }
    for key, device in offload.items():
        if device != "none":
            zero[key] = {"device": device, "pin_memory": True}
    fp32_accumulation = {"data_types": {"grad_accum_dtype": "fp32"}}
    # By its class DeepSpeed knows only PyTorch's and its own AdamW.
    other_optimizer = {"zero_allow_untested_optimizer": True}
    return {
        "train_batch_size": plan.global_batch_size,
        "train_micro_batch_size_per_gpu": plan.micro_batch_size,
        "gradient_accumulation_steps": plan.gradient_accumulation_steps,
        "gradient_clipping": plan.gradient_clipping,
        "fp16": LOSS_SCALING if plan.precision == "fp16" else {"enabled": False},
        "bf16": {
            "enabled": plan.precision == "bf16",
            "bf16_master_weights_and_grads": plan.bf16_optimizer_states,
            "bf16_optimizer_states": plan.bf16_optimizer_states,
        },
        **(fp32_accumulation if accumulates_in_fp32(plan) else {}),
        **(other_optimizer if plan.optim == "adamw_8bit" else {}),
        "zero_optimization": zero,
        # Never: the training loop logs its own steps.
        "steps_per_print": 2**31,
        "wall_clock_breakdown": False,
        # By default it waits for the GPU twice for each micro-batch, also where nothing
        # is printed (DeepSpeed 0.19, utils/timer.py:238 and :256).
        "timers": {"throughput": {"enabled": False}},
    }
