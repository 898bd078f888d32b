"""Configs that are right: the linter has nothing to say, and DeepSpeed takes them.

From DeepSpeed's and Transformers' documentation and examples, and what `configure`
writes.
"""

import itertools
from dataclasses import dataclass
from typing import Any

from plans import make_plan
from retune.linting.finding import Training
from retune.planning.deepspeed_config import deepspeed_config


@dataclass(frozen=True)
class Good:
    config: dict[str, Any]
    training: Training


def bf16(**zero: Any) -> dict[str, Any]:
    return {
        "train_batch_size": 16,
        "train_micro_batch_size_per_gpu": 2,
        "bf16": {"enabled": True},
        "zero_optimization": zero,
    }


ADAM = {
    "type": "Adam",
    "params": {"lr": 0.001, "betas": [0.8, 0.999], "eps": 1e-8, "weight_decay": 3e-7},
}
WARMUP = {
    "type": "WarmupLR",
    "params": {"warmup_min_lr": 0, "warmup_max_lr": 0.001, "warmup_num_steps": 1000},
}
LOSS_SCALE = {
    "loss_scale": 0,
    "loss_scale_window": 1000,
    "initial_scale_power": 16,
    "hysteresis": 2,
    "min_loss_scale": 1,
}
OF_DEEPSPEED: dict[str, dict[str, Any]] = {
    "cifar": {
        "train_batch_size": 16,
        "steps_per_print": 2000,
        "optimizer": ADAM,
        "scheduler": WARMUP,
        "gradient_clipping": 1.0,
        "prescale_gradients": False,
        "wall_clock_breakdown": False,
        "zero_optimization": {
            "stage": 0,
            "allgather_partitions": True,
            "reduce_scatter": True,
            "allgather_bucket_size": 50000000,
            "reduce_bucket_size": 50000000,
            "overlap_comm": True,
            "contiguous_gradients": True,
            "cpu_offload": False,
        },
    },
    "zero tutorial, stage 1": {
        **bf16(stage=1, reduce_bucket_size=5e8),
        "gradient_clipping": 0,
    },
    "zero tutorial, stage 2": bf16(
        stage=2,
        contiguous_gradients=True,
        overlap_comm=True,
        reduce_scatter=True,
        reduce_bucket_size=5e8,
        allgather_bucket_size=5e8,
    ),
    "zero tutorial, stage 3": {
        **bf16(
            stage=3,
            contiguous_gradients=True,
            stage3_max_live_parameters=1e9,
            stage3_max_reuse_distance=1e9,
            stage3_prefetch_bucket_size=1e7,
            stage3_param_persistence_threshold=1e5,
            reduce_bucket_size=1e7,
            sub_group_size=1e9,
            offload_optimizer={"device": "cpu"},
            offload_param={"device": "cpu"},
        ),
        "optimizer": {"type": "AdamW", "params": {"lr": 1e-5, "bias_correction": True}},
    },
    "infinity": {
        **bf16(
            stage=3,
            offload_param={
                "device": "nvme",
                "nvme_path": "/local_nvme",
                "buffer_count": 5,
                "buffer_size": 1e8,
                "max_in_cpu": 1e9,
            },
            offload_optimizer={
                "device": "nvme",
                "nvme_path": "/local_nvme",
                "buffer_count": 4,
                "pipeline_read": True,
                "pipeline_write": True,
                "fast_init": False,
            },
        ),
        "aio": {
            "block_size": 262144,
            "queue_depth": 32,
            "intra_op_parallelism": 1,
            "single_submit": False,
            "overlap_events": True,
        },
    },
    "zero++": bf16(
        stage=3,
        reduce_bucket_size=10000000,
        reduce_scatter=True,
        zero_quantized_weights=True,
        zero_hpz_partition_size=8,
        zero_quantized_gradients=True,
        contiguous_gradients=True,
        overlap_comm=True,
    ),
    "fp16 and Lamb": {
        "train_micro_batch_size_per_gpu": 64,
        "zero_allow_untested_optimizer": True,
        "optimizer": {
            "type": "Lamb",
            "params": {"lr": 11e-3, "max_coeff": 0.3, "min_coeff": 0.01},
        },
        "fp16": {"enabled": True, **LOSS_SCALE},
        "zero_optimization": {"stage": 1},
    },
    "pipeline": {
        "train_batch_size": 256,
        "train_micro_batch_size_per_gpu": 8,
        # For the four copies that 8 GPUs hold in two stages.
        "gradient_accumulation_steps": 8,
        "optimizer": ADAM,
        "steps_per_print": 10,
        "wall_clock_breakdown": False,
        "pipeline": {"stages": 2, "activation_checkpoint_interval": 1},
        "zero_optimization": {"stage": 1},
    },
    "monitors and profilers": {
        "train_micro_batch_size_per_gpu": 1,
        "tensorboard": {"enabled": True, "output_path": "logs", "job_name": "train"},
        "wandb": {"enabled": True, "group": "g", "team": "t", "project": "p"},
        "csv_monitor": {"enabled": True, "output_path": "logs", "job_name": "train"},
        "flops_profiler": {
            "enabled": True,
            "profile_step": 1,
            "module_depth": -1,
            "top_modules": 1,
            "detailed": True,
            "output_file": None,
        },
        "comms_logger": {
            "enabled": True,
            "verbose": False,
            "prof_all": False,
            "debug": False,
            "prof_ops": ["all_reduce"],
        },
        "activation_checkpointing": {
            "partition_activations": False,
            "cpu_checkpointing": False,
            "contiguous_memory_optimization": False,
            "number_checkpoints": None,
            "synchronize_checkpoint_boundary": False,
            "profile": False,
        },
        "checkpoint": {"tag_validation": "Warn", "load_universal": False},
        "data_types": {"grad_accum_dtype": "fp32"},
        "communication_data_type": "FP32",
    },
    "muon": {
        **bf16(stage=2, reduce_scatter=False),
        "optimizer": {"type": "Muon", "params": {"lr": 2e-5, "momentum": 0.9}},
    },
    "null": {
        "train_batch_size": 8,
        "prescale_gradients": None,
        "zero_allow_untested_optimizer": None,
        "bf16": None,
        "data_types": {"grad_accum_dtype": None},
        "zero_optimization": {"stage": 1, "offload_optimizer": None},
    },
    "torch's own": {
        "train_micro_batch_size_per_gpu": 1,
        "optimizer": {"type": "SGD", "params": {"lr": 0.1, "momentum": 0.9}},
        "scheduler": {"type": "StepLR", "params": {"step_size": 10, "gamma": 0.1}},
    },
}

AUTO = "auto"
AUTO_BATCH = {
    "gradient_accumulation_steps": AUTO,
    "gradient_clipping": AUTO,
    "train_batch_size": AUTO,
    "train_micro_batch_size_per_gpu": AUTO,
}
AUTO_ADAMW = {
    "type": "AdamW",
    "params": {"lr": AUTO, "betas": AUTO, "eps": AUTO, "weight_decay": AUTO},
}
AUTO_WARMUP = {"warmup_min_lr": AUTO, "warmup_max_lr": AUTO, "warmup_num_steps": AUTO}
AUTO_STAGE_3 = {
    "reduce_bucket_size": AUTO,
    "stage3_prefetch_bucket_size": AUTO,
    "stage3_param_persistence_threshold": AUTO,
    "stage3_max_live_parameters": 1e9,
    "stage3_max_reuse_distance": 1e9,
    "stage3_gather_16bit_weights_on_model_save": True,
    "sub_group_size": 1e9,
    "overlap_comm": True,
    "contiguous_gradients": True,
}
ON_CPU = {"device": "cpu", "pin_memory": True}
OF_TRANSFORMERS: dict[str, dict[str, Any]] = {
    "ds_config_zero2": {
        "fp16": {"enabled": AUTO, **LOSS_SCALE},
        "optimizer": AUTO_ADAMW,
        "scheduler": {"type": "WarmupLR", "params": AUTO_WARMUP},
        "zero_optimization": {
            "stage": 2,
            "offload_optimizer": ON_CPU,
            "allgather_partitions": True,
            "allgather_bucket_size": 2e8,
            "overlap_comm": True,
            "reduce_scatter": True,
            "reduce_bucket_size": 2e8,
            "contiguous_gradients": True,
        },
        "steps_per_print": 2000,
        "wall_clock_breakdown": False,
        **AUTO_BATCH,
    },
    "ds_config_zero3": {
        "fp16": {"enabled": AUTO, **LOSS_SCALE},
        "bf16": {"enabled": AUTO},
        "optimizer": AUTO_ADAMW,
        "scheduler": {
            "type": "WarmupDecayLR",
            "params": AUTO_WARMUP | {"total_num_steps": AUTO},
        },
        "zero_optimization": {
            "stage": 3,
            "offload_optimizer": ON_CPU,
            "offload_param": ON_CPU,
            **AUTO_STAGE_3,
        },
        **AUTO_BATCH,
    },
    "unknown precision": {
        "bf16": {
            "enabled": AUTO,
            "bf16_master_weights_and_grads": True,
            "bf16_optimizer_states": True,
        },
        "fp16": {"enabled": AUTO, "auto_cast": True},
        "data_types": {"param_dtype": "bf16", "grad_accum_dtype": "bf16"},
        "zero_optimization": {"stage": 1},
        # Accelerate puts infinity in its place.
        "steps_per_print": "often",
        **AUTO_BATCH,
    },
    # Only in bf16 there is no bucket.
    "perhaps sums in fp32": {
        "bf16": {"enabled": AUTO},
        "data_types": {"grad_accum_dtype": "fp32"},
        "zero_optimization": {"stage": 1, "reduce_bucket_size": 5e9},
        **AUTO_BATCH,
    },
    "no precision": {"zero_optimization": {"stage": 0}, **AUTO_BATCH},
    "without an optimizer": {
        "bf16": {"enabled": AUTO},
        "zero_optimization": {"stage": 3, "offload_optimizer": ON_CPU, **AUTO_STAGE_3},
        **AUTO_BATCH,
    },
}


def of_configure() -> dict[str, Good]:
    """Return what `configure` writes for its strategies."""
    good = {}
    for stage, precision, ranks in itertools.product(
        range(4), ("fp32", "bf16", "fp16"), (1, 2)
    ):
        if stage == 0 and precision != "fp32":
            continue  # Refused by rules between the settings, or taken as stage 1.
        for optimizer, param in (("none", "none"), ("cpu", "none"), ("cpu", "cpu")):
            if (optimizer != "none" and stage == 0) or (param != "none" and stage < 3):
                continue
            accelerator = "cpu" if precision == "fp32" else "cuda"
            plan = make_plan(
                precision=precision,
                zero_stage=stage,
                offload_optimizer=optimizer,
                offload_param=param,
                ranks_per_node=ranks,
                accelerator=accelerator,
                global_batch_size=4 * ranks,
            )
            name = (
                f"configure: {precision}, stage {stage}, {optimizer}, {param}, {ranks}"
            )
            good[name] = Good(deepspeed_config(plan), Training(ranks, accelerator))
    for stages, ranks in ((2, 4), (4, 4)):
        plan = make_plan(
            precision="bf16",
            zero_stage=1,
            pipeline_stages=stages,
            ranks_per_node=ranks,
            accelerator="cuda",
            global_batch_size=4 * ranks // stages,
        )
        good[f"configure: {stages} stages on {ranks} GPUs"] = Good(
            deepspeed_config(plan), Training(ranks, model_parallel=stages)
        )
    states = make_plan(
        precision="bf16", zero_stage=1, bf16_optimizer_states=True, accelerator="cuda"
    )
    good["configure: bf16_optimizer_states"] = Good(
        deepspeed_config(states), Training(1)
    )
    on_disk = deepspeed_config(make_plan(zero_stage=3, offload_optimizer="nvme"))
    # As `finetune` adds it.
    on_disk["zero_optimization"]["offload_optimizer"]["nvme_path"] = "/scratch"
    good["configure: nvme"] = Good(on_disk, Training(1, "cpu"))
    return good


GOOD = {
    **{name: Good(config, Training(8)) for name, config in OF_DEEPSPEED.items()},
    **{
        name: Good(config, Training(8, transformers=True))
        for name, config in OF_TRANSFORMERS.items()
    },
    **of_configure(),
}
