"""The keys that DeepSpeed 0.19 reads in its config, with their defaults and bounds.

A test holds this table to the installed DeepSpeed.
"""

import sys
from dataclasses import replace

from retune.linting.value import (
    Section,
    Value,
    anything,
    boolean,
    choice,
    integer,
    number,
    text,
)

PRECISIONS = ("fp32", "fp16", "bf16")
# All names that DeepSpeed has for a floating point type, with the first of each.
DTYPES = {
    **dict.fromkeys(("torch.float32", "fp32", "float32", "float"), "fp32"),
    **dict.fromkeys(("torch.float16", "fp16", "float16", "half"), "fp16"),
    **dict.fromkeys(("torch.bfloat16", "bf16", "bfloat16"), "bf16"),
}

FP16 = Section(
    {
        "enabled": boolean(False),
        "auto_cast": boolean(False),
        "loss_scale": number(0, at_least=0),
        "initial_scale_power": integer(16),
        "loss_scale_window": integer(1000),
        "hysteresis": integer(2),
        "consecutive_hysteresis": boolean(False),
        "min_loss_scale": integer(1),
        "fp16_master_weights_and_grads": boolean(False),
    },
    checked=True,
)
BF16 = Section(
    {
        "enabled": boolean(False),
        "immediate_grad_update": boolean(False),
        "check_grad_overflow": boolean(True),
        "bf16_master_weights_and_grads": boolean(False),
        "bf16_optimizer_states": boolean(False),
    },
    checked=True,
    null=True,
)
DEVICES = ("none", "cpu", "nvme")
OFFLOAD_PARAM = Section(
    {
        "device": choice("none", *DEVICES),
        "nvme_path": text(None, null=True),
        "buffer_count": integer(5, at_least=0),
        "buffer_size": integer(1e8, at_least=0),
        "max_in_cpu": integer(1e9, at_least=0),
        "pin_memory": boolean(True),
    },
    checked=True,
    null=True,
)
OFFLOAD_OPTIMIZER = Section(
    {
        "device": choice("none", *DEVICES),
        "nvme_path": text(None, null=True),
        "buffer_count": integer(4, at_least=0),
        "pin_memory": boolean(True),
        "pipeline_read": boolean(False),
        "pipeline_write": boolean(False),
        "fast_init": boolean(False),
        "ratio": number(1.0, at_least=0, at_most=1),
        "super_offload": boolean(False),
        "cpuadam_cores_perc": number(0.8, at_least=0, at_most=1),
    },
    checked=True,
    null=True,
)
ZENFLOW = Section(
    {
        "topk_ratio": number(0.1, above=0, below=1),
        "select_strategy": choice("auto", "auto", "step", "epoch", auto=True),
        "select_interval": anything("auto", auto=True),
        "update_interval": anything("auto", auto=True),
        "overlap_step": boolean(False),
        "offload": boolean(False),
        "auto_ratio": number(0.99, at_least=0, at_most=1),
        "full_warm_up_rounds": integer(0),
        "pt_reserved_cores_perc": number(0.5, at_least=0, at_most=1),
        "steps_per_epoch": integer(None, null=True),
    },
    checked=True,
    null=True,
)
ZERO = Section(
    {
        "stage": integer(0, at_least=0, at_most=3),
        "contiguous_gradients": boolean(True),
        "reduce_scatter": boolean(True),
        "reduce_bucket_size": integer(5e8, above=0),
        "use_multi_rank_bucket_allreduce": boolean(True),
        "allgather_partitions": boolean(True),
        "allgather_bucket_size": integer(5e8, at_least=0),
        "overlap_comm": boolean(None, null=True),
        "compute_grad_norm": boolean(True),
        "load_from_fp32_weights": boolean(True),
        "elastic_checkpoint": boolean(False),
        "offload_param": OFFLOAD_PARAM,
        "offload_optimizer": OFFLOAD_OPTIMIZER,
        "zenflow": ZENFLOW,
        "sub_group_size": integer(1e9, at_least=0),
        "cpu_offload_param": boolean(None, null=True),
        "cpu_offload_use_pin_memory": boolean(None, null=True),
        "cpu_offload": boolean(None, null=True),
        "stage3_prefetch_bucket_size": integer(5e7, at_least=0),
        "stage3_param_persistence_threshold": integer(1e5, at_least=0),
        "stage3_model_persistence_threshold": integer(sys.maxsize, at_least=0),
        "stage3_max_live_parameters": integer(1e9, at_least=0),
        "stage3_max_reuse_distance": integer(1e9, at_least=0),
        "stage3_gather_16bit_weights_on_model_save": boolean(False),
        "stage3_module_granularity_threshold": integer(0),
        "stage3_use_all_reduce_for_fetch_params": boolean(False),
        "stage3_allgather_sequential": boolean(False),
        "stage3_gather_fp16_weights_on_model_save": boolean(False),
        "ignore_unused_parameters": boolean(True),
        "legacy_stage1": boolean(False),
        "round_robin_gradients": boolean(False),
        "parameter_alignment": boolean(False),
        "zero_hpz_partition_size": integer(1, at_least=0),
        "zero_quantized_weights": boolean(False),
        "zero_quantized_nontrainable_weights": boolean(False),
        "zero_quantized_gradients": boolean(False),
        "memory_efficient_linear": boolean(True),
        "pipeline_loading_checkpoint": boolean(False),
        "override_module_apply": boolean(True),
        "log_trace_cache_warnings": boolean(False),
        "enable_sanity_checks": boolean(False),
        "save_muon_momentum_buffer_in_memory": boolean(False),
        "leaf_module": Section(
            dict.fromkeys(("classes", "names", "name_suffixes"), Value("texts")),
            checked=True,
            null=True,
        ),
    },
    checked=True,
    other_names={
        name: f"stage3_{name}"
        for name in (
            "prefetch_bucket_size",
            "param_persistence_threshold",
            "model_persistence_threshold",
            "max_live_parameters",
            "max_reuse_distance",
            "gather_16bit_weights_on_model_save",
            "module_granularity_threshold",
            "use_all_reduce_for_fetch_params",
            "allgather_sequential",
        )
    },
)
COMPILE = Section(
    {
        "deepcompile": boolean(False),
        "autoep_non_moe": boolean(False),
        "free_activation": boolean(False),
        "free_activation_threshold": integer(10 * 1024 * 1024),
        "offload_activation": boolean(False),
        "offload_activation_pin_memory": boolean(True),
        "offload_opt_states": boolean(False),
        "double_buffer": boolean(True),
        "symmetric_memory": boolean(False),
        "debug_log": boolean(False),
        "offload_parameters": boolean(False),
        "sync_before_reduce": boolean(False),
        "sync_after_reduce": boolean(False),
        "sync_before_allgather": boolean(False),
        "sync_after_allgather": boolean(False),
        "keep_int_input_tensors": boolean(True),
        "keep_all_input_tensors": boolean(False),
        "passes": Value("list", None, null=True),
    },
    checked=True,
)
TENSOR_PARALLEL = Section(
    {
        # It takes a torch.dtype, which JSON does not have.
        "dtype": Value("nothing"),
        "autotp_size": integer(0),
        "tp_overlap_comm": boolean(False),
        "vocab_parallel_lm_head": boolean(None, null=True),
        "vocab_parallel_ce_backend": choice("torch", "torch", "liger"),
        "tp": Section(
            {
                "tp_size": integer(1),
                "tp_grain_size": integer(1),
                "mpu": anything(),
                "tp_group": anything(),
            },
            checked=True,
        ),
        "injection_policy_tuple": anything(),
        "partition_config": anything(),
        "preset_model": text(None, null=True),
        "keep_module_on_host": boolean(False),
        "kernel_inject": boolean(False),
    },
    checked=True,
    other_names={
        "tensor_parallel": "tp",
        "replace_with_kernel_inject": "kernel_inject",
    },
)
HYBRID_ENGINE = Section(
    {
        "enabled": boolean(False),
        "max_out_tokens": integer(512, above=0),
        "inference_tp_size": integer(1),
        "release_inference_cache": boolean(False),
        "pin_parameters": boolean(True),
        "tp_gather_partition_size": integer(8),
        "enable_cuda_graph": boolean(False),
    },
    checked=True,
)
COMMS_LOGGER = Section(
    {
        "enabled": boolean(False),
        "prof_all": boolean(True),
        "prof_ops": Value("list", []),
        "verbose": boolean(False),
        "debug": boolean(False),
    },
    checked=True,
)
WRITES_FILES = {
    "enabled": boolean(False),
    "output_path": text(""),
    "job_name": text("DeepSpeedJobName"),
}
WANDB = Section(
    {
        "enabled": boolean(False),
        "group": text(None, null=True),
        "team": text(None, null=True),
        "project": text("deepspeed"),
    },
    checked=True,
)
COMET = Section(
    {
        "enabled": boolean(False),
        "samples_log_interval": integer(100),
        "project": text(None, null=True),
        "workspace": text(None, null=True),
        "api_key": text(None, null=True),
        "experiment_name": text(None, null=True),
        "experiment_key": text(None, null=True),
        "online": boolean(None, null=True),
        "mode": text(None, null=True),
    },
    checked=True,
)
WEIGHT_QUANTIZATION = Section(
    {
        "enabled": boolean(True),
        "num_bits": integer(8),
        "q_type": choice("symmetric", "asymmetric", "symmetric"),
        "q_groups": integer(1),
        "quantized_initialization": Section(more=True),
        "post_init_quant": Section(more=True),
    },
    checked=True,
)
ACTIVATION_CHECKPOINTING = Section(
    {
        "partition_activations": boolean(False),
        "number_checkpoints": integer(None, null=True),
        "contiguous_memory_optimization": boolean(False),
        "synchronize_checkpoint_boundary": boolean(False),
        "profile": boolean(False),
        "cpu_checkpointing": boolean(False),
    }
)
FLOPS_PROFILER = Section(
    {
        "enabled": boolean(False),
        "recompute_fwd_factor": number(0.0),
        "profile_step": integer(1),
        "module_depth": integer(-1),
        "top_modules": integer(1),
        "detailed": boolean(True),
        "output_file": text(None, null=True),
    }
)
AIO = Section(
    {
        "block_size": integer(1048576, above=0),
        "queue_depth": integer(8, above=0),
        "intra_op_parallelism": integer(1, above=0),
        "single_submit": boolean(False),
        "overlap_events": boolean(True),
        "use_gds": boolean(False),
    },
    null=True,
)
CHECKPOINT = Section(
    {
        "tag_validation": choice("warn", "warn", "ignore", "fail", any_case=True),
        "load_universal": boolean(False),
        "use_node_local_storage": boolean(False),
        "checkpoint_serialization": boolean(True),
        "parallel_write": Section({"pipeline_stage": boolean(False)}),
        "writer": Section(
            {
                "type": choice("fast", "fast", "python", "mock", any_case=True),
                "io_buffer_size": integer(64 * 1024**2, above=0),
                "io_buffer_double": boolean(True),
                "io_multiplier": integer(1),
                "show_statistics": boolean(False),
                "data_parallel": choice(
                    None, "replica", "socket", "machine", any_case=True, null=True
                ),
                "decoupled": boolean(False),
            },
            null=True,
        ),
    }
)
AUTOTUNING = Section(
    {
        "enabled": boolean(False),
        "fast": boolean(True),
        "results_dir": text("autotuning_results"),
        "exps_dir": text("autotuning_exps"),
        "overwrite": boolean(True),
        "start_profile_step": integer(3),
        "end_profile_step": integer(5),
        "metric": text("throughput"),
        "metric_path": text(None, null=True),
        "tuner_type": text("gridsearch"),
        "tuner_early_stopping": integer(5),
        "tuner_num_trials": integer(50),
        "arg_mappings": anything(),
        "model_info": anything(),
        "model_info_path": text(None, null=True),
        "mp_size": integer(1),
        "max_train_batch_size": integer(None, null=True),
        "min_train_batch_size": integer(1),
        "max_train_micro_batch_size_per_gpu": integer(1024),
        "min_train_micro_batch_size_per_gpu": integer(1),
        "num_tuning_micro_batch_sizes": integer(3),
    }
)
# What the values of these may be decide parts of DeepSpeed that the linter leaves out.
EXPERT_PARALLEL = Section(more=True, null=True)
DATA_EFFICIENCY = Section(
    {
        "enabled": boolean(False),
        "seed": integer(1234),
        "data_sampling": Section(more=True),
        "data_routing": Section(more=True),
    }
)
PIPELINE = Section(
    {
        "stages": anything("auto", auto=True),
        "partition": text("best", auto=True),
        "seed_layers": boolean(False),
        "activation_checkpoint_interval": integer(0, at_least=0),
        "pipe_partitioned": boolean(True),
        "grad_partitioned": boolean(True),
        "use_reentrant": boolean(True),
    }
)
TOP = Section(
    {
        "train_batch_size": integer(None, null=True),
        "train_micro_batch_size_per_gpu": integer(None, null=True),
        "gradient_accumulation_steps": integer(None, null=True),
        "managed_gradient_accumulation": boolean(True),
        "steps_per_print": number(None, null=True, infinite=True),
        "dump_state": boolean(False),
        "disable_python_gc": boolean(False),
        "disable_allgather": boolean(False),
        "communication_data_type": choice(None, *PRECISIONS, any_case=True, null=True),
        "seq_parallel_communication_data_type": choice(
            "fp32", *PRECISIONS, any_case=True, null=True
        ),
        "prescale_gradients": boolean(False),
        "gradient_predivide_factor": number(1.0),
        "gradient_allreduce_op": choice("mean", "mean", "sum", any_case=True),
        "gradient_clipping": number(1.0, infinite=True),
        "fp16": FP16,
        "bf16": BF16,
        "bfloat16": replace(BF16, null=False),
        "torch_autocast": Section(
            {
                "enabled": boolean(False),
                "dtype": choice(None, *DTYPES, named=PRECISIONS),
                "lower_precision_safe_modules": Value("list", None),
            }
        ),
        "data_types": Section(
            {
                "grad_accum_dtype": choice(None, *DTYPES, named=PRECISIONS, null=True),
                "param_dtype": choice(None, *DTYPES, named=PRECISIONS, null=True),
                "buffer_dtype": choice(None, *DTYPES, named=PRECISIONS, null=True),
                "keep_in_fp32_modules": Value("list", "auto", auto=True),
            }
        ),
        "zero_optimization": ZERO,
        "zero_allow_untested_optimizer": boolean(False),
        "zero_force_ds_cpu_optimizer": boolean(True),
        "allgather_size": integer(5e8, at_least=0),
        "optimizer": Section(
            {
                "type": text(None, null=True),
                "params": Section(more=True, null=True),
                "legacy_fusion": boolean(False),
            }
        ),
        "scheduler": Section(
            {"type": text(None, null=True), "params": Section(more=True)}
        ),
        "activation_checkpointing": ACTIVATION_CHECKPOINTING,
        "aio": AIO,
        "autotuning": AUTOTUNING,
        "checkpoint": CHECKPOINT,
        "comms_logger": COMMS_LOGGER,
        "compile": COMPILE,
        "data_efficiency": DATA_EFFICIENCY,
        "dataloader_drop_last": boolean(False),
        "datastates_ckpt": anything(),
        "expert_parallel": EXPERT_PARALLEL,
        "flops_profiler": FLOPS_PROFILER,
        "hybrid_engine": HYBRID_ENGINE,
        "log_level": choice(
            None,
            *("debug", "info", "warning", "error", "critical"),
            any_case=True,
            null=True,
        ),
        "memory_breakdown": boolean(False),
        "pipeline": PIPELINE,
        "sequence_parallel_size": integer(1, at_least=1),
        "data_parallel_size": integer(1, at_least=1),
        "tensor_parallel": TENSOR_PARALLEL,
        "timers": Section(
            {
                "throughput": Section(
                    {"enabled": boolean(True), "synchronized": boolean(True)},
                    checked=True,
                )
            }
        ),
        "use_data_before_expert_parallelism": boolean(False),
        "vocabulary_size": integer(None, null=True),
        "wall_clock_breakdown": boolean(False),
        "weight_quantization": WEIGHT_QUANTIZATION,
        "tensorboard": Section(WRITES_FILES, checked=True),
        "csv_monitor": Section(WRITES_FILES, checked=True),
        "wandb": WANDB,
        "comet": COMET,
    }
)


def at(key: str) -> Value | Section | None:
    """Return what a key takes, by its full name with dots, or None if it is unknown."""
    node: Value | Section | None = TOP
    for part in key.split("."):
        if not isinstance(node, Section):
            return None
        node = node.keys.get(node.other_names.get(part, part))
    return node
