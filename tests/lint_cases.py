"""Configs with one fault each, what the linter finds, and what DeepSpeed really does.

`tests/unit/test_linting.py` gives them to the linter, `tests/library/test_linting.py`
to the installed DeepSpeed.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

from retune.linting.wrong_values import AT_FIRST_STEP, AT_PROFILE, AT_START

# Of two linear layers, on one CPU rank, without compiling anything.
BASE: dict[str, Any] = {
    "train_micro_batch_size_per_gpu": 1,
    "gradient_accumulation_steps": 1,
    "optimizer": {"type": "AdamW", "params": {"lr": 1e-3, "torch_adam": True}},
}
# The config of the classic DeepSpeed tutorial.
CLASSIC: dict[str, Any] = {
    "train_batch_size": 4,
    "train_micro_batch_size_per_gpu": 1,
    "gradient_accumulation_steps": 4,
    "fp16": {"enabled": "auto"},
    "zero_optimization": {
        "stage": 2,
        "offload_param": {"device": "cpu", "pin_memory": True},
        "overlap_comm": True,
        "contiguous_gradients": True,
        "reduce_bucket_size": 5e8,
        "allgather_bucket_size": 5e8,
    },
}
STEPS = 2  # optimizer steps that each config is trained for


@dataclass(frozen=True)
class Case:
    """A config with one fault.

    Attributes:
        key: Key of the only error, or of the only warning.
        changes: Keys at the top that differ from BASE; DELETED takes one away.
        does: Whether DeepSpeed refuses the config, stops at the first step, or trains.
        seen: What it trains, where it trains something else than it seems.
        severity: Of the finding.
        gpus: Number of GPUs.
        client: Class of torch.optim whose optimizer is passed, or None.
    """

    key: str
    changes: dict[str, Any]
    does: Literal["refuses", "stops", "trains"] = "refuses"
    seen: dict[str, Any] = field(default_factory=dict)
    severity: Literal["error", "warning"] = "error"
    gpus: int = 1
    client: str | None = None

    def config(self) -> dict[str, Any]:
        config = BASE | self.changes
        return {key: value for key, value in config.items() if value is not DELETED}


DELETED = object()


def zero(stage: int, **others: Any) -> dict[str, Any]:
    return {"zero_optimization": {"stage": stage, **others}}


def adamw(**params: Any) -> dict[str, Any]:
    params = {"lr": 1e-3, "torch_adam": True, **params}
    return {"optimizer": {"type": "AdamW", "params": params}}


def optimizer(kind: str, **params: Any) -> dict[str, Any]:
    return {"optimizer": {"type": kind, "params": params}}


def schedule(kind: str, **params: Any) -> dict[str, Any]:
    return {"scheduler": {"type": kind, "params": params}}


MICRO, STEPS_KEY = "train_micro_batch_size_per_gpu", "gradient_accumulation_steps"
CPU = {"device": "cpu"}
BF16 = {"bf16": {"enabled": True}}
ZERO = "zero_optimization"
PARAM, OPTIM = f"{ZERO}.offload_param", f"{ZERO}.offload_optimizer"
RATE, SCHEDULE = "optimizer.params", "scheduler.params"

REFUSED = [
    # Unknown, removed and renamed keys.
    Case(f"{ZERO}.reduce_bucket_sise", zero(1, reduce_bucket_sise=5e7)),
    Case(f"{ZERO}.foo", zero(1, foo=1)),
    Case(f"{OPTIM}.buffer_size", zero(1, offload_optimizer=CPU | {"buffer_size": 1})),
    Case("bf16.loss_scale", {"bf16": {"enabled": True, "loss_scale": 0}, **zero(1)}),
    Case("fp16.opt_level", {"fp16": {"opt_level": "O2"}}),
    Case("amp", {"amp": {"enabled": False}}),
    Case("elasticity", {"elasticity": {}}),
    Case("sparse_attention", {"sparse_attention": {}}),
    Case(f"{ZERO}.mics_shard_size", zero(3, mics_shard_size=2)),
    Case(f"{ZERO}.cpu_offload", zero(2, cpu_offload=True, offload_optimizer=CPU)),
    Case(
        f"{ZERO}.prefetch_bucket_size",
        zero(3, stage3_prefetch_bucket_size=1, prefetch_bucket_size=2),
    ),
    Case("wandb.entity", {"wandb": {"enabled": False, "entity": "x"}}),
    Case("compile.backend", {"compile": {"backend": "inductor"}}),
    Case("timers.throughput.foo", {"timers": {"throughput": {"foo": 1}}}),
    Case("tensor_parallel.tp_size", {"tensor_parallel": {"tp_size": 2}}),
    # Values of the wrong type or size.
    Case(f"{ZERO}.stage", zero(4)),
    Case(f"{ZERO}.reduce_bucket_size", zero(1, reduce_bucket_size=0)),
    Case(f"{ZERO}.reduce_bucket_size", zero(1, reduce_bucket_size=-5e8)),
    Case(f"{ZERO}.reduce_bucket_size", zero(1, reduce_bucket_size=1.5)),
    Case(f"{ZERO}.reduce_bucket_size", zero(1, reduce_bucket_size="5e8")),
    Case(f"{ZERO}.reduce_bucket_size", zero(1, reduce_bucket_size=None)),
    Case(f"{ZERO}.overlap_comm", zero(1, overlap_comm="maybe")),
    Case(f"{ZERO}.contiguous_gradients", zero(1, contiguous_gradients=2)),
    Case(ZERO, {ZERO: [1]}),
    Case(ZERO, {ZERO: None}),
    Case(ZERO, {ZERO: "auto"}),
    Case("bf16", {"bf16": True}),
    Case("fp16", {"fp16": None}),
    Case("fp16.loss_scale", {"fp16": {"loss_scale": -1}}),
    Case("fp16.loss_scale", {"fp16": {"loss_scale": True}}),
    Case("fp16.min_loss_scale", {"fp16": {"min_loss_scale": 0.5}}),
    Case("wall_clock_breakdown", {"wall_clock_breakdown": "false"}),
    Case("wall_clock_breakdown", {"wall_clock_breakdown": "auto"}),
    Case("flops_profiler.enabled", {"flops_profiler": {"enabled": "auto"}}),
    Case("log_level", {"log_level": "loud"}),
    Case("communication_data_type", {"communication_data_type": "float16"}),
    Case("communication_data_type", {"communication_data_type": "auto"}),
    Case("gradient_allreduce_op", {"gradient_allreduce_op": "max"}),
    Case("data_types.grad_accum_dtype", {"data_types": {"grad_accum_dtype": "FP32"}}),
    Case("data_types.grad_accum_dtype", {"data_types": {"grad_accum_dtype": "auto"}}),
    Case(
        "torch_autocast.dtype", {"torch_autocast": {"enabled": True, "dtype": "auto"}}
    ),
    Case("checkpoint.tag_validation", {"checkpoint": {"tag_validation": "Loud"}}),
    Case("checkpoint.tag_validation", {"checkpoint": {"tag_validation": "auto"}}),
    Case("bfloat16", {"bfloat16": None}),
    Case(
        "data_types.keep_in_fp32_modules", {"data_types": {"keep_in_fp32_modules": "x"}}
    ),
    Case(f"{ZERO}.leaf_module.names", zero(3, leaf_module={"names": 1})),
    Case(f"{ZERO}.allgather_bucket_size", zero(2, allgather_bucket_size=5)),
    Case("vocabulary_size", {"vocabulary_size": "auto"}),
    Case("tensor_parallel.dtype", {"tensor_parallel": {"dtype": "bf16"}}),
    Case("checkpoint.writer.type", {"checkpoint": {"writer": {"type": "slow"}}}),
    Case("data_parallel_size", {"data_parallel_size": 2, "sequence_parallel_size": 1}),
    Case("activation_checkpointing", {"activation_checkpointing": True}),
    Case("comms_logger.prof_ops", {"comms_logger": {"prof_ops": "all_reduce"}}),
    # The batch sizes.
    Case("train_batch_size", {"train_batch_size": 4, STEPS_KEY: 4}, gpus=2),
    Case("train_batch_size", {"train_batch_size": 3, MICRO: 2, STEPS_KEY: DELETED}),
    Case("train_batch_size", {"train_batch_size": 5, MICRO: DELETED}, gpus=2),
    Case(
        "train_batch_size",
        {"train_batch_size": 1, MICRO: DELETED, STEPS_KEY: DELETED},
        gpus=2,
    ),
    Case("train_batch_size", {"train_batch_size": "1"}),
    Case("train_batch_size", {"train_batch_size": "auto"}),
    Case(MICRO, {MICRO: 0}),
    Case(MICRO, {MICRO: -1}),
    Case(MICRO, {MICRO: DELETED}),
    Case(STEPS_KEY, {STEPS_KEY: "auto"}),
    Case("tensor_parallel.autotp_size", {"tensor_parallel": {"autotp_size": 2}}),
    # Precision.
    Case("fp16.enabled", {"fp16": {"enabled": True}, **zero(1)}),
    Case("data_types.param_dtype", {"data_types": {"param_dtype": "bf16"}}),
    Case(
        "data_types.grad_accum_dtype",
        {**BF16, "data_types": {"grad_accum_dtype": "fp32"}},
    ),
    Case(
        "bf16.bf16_optimizer_states",
        {"bf16": {"enabled": True, "bf16_optimizer_states": True}, **zero(1)},
    ),
    Case(
        "bf16.bf16_master_weights_and_grads",
        {"bf16": {"enabled": True, "bf16_master_weights_and_grads": True}, **zero(2)},
    ),
    # Stages.
    Case(f"{ZERO}.compute_grad_norm", zero(3, compute_grad_norm=False)),
    Case(f"{ZERO}.compute_grad_norm", zero(2, compute_grad_norm=False)),
    Case(
        f"{ZERO}.compute_grad_norm",
        {
            **BF16,
            "gradient_clipping": 0,
            "data_types": {"grad_accum_dtype": "fp32"},
            **zero(1, compute_grad_norm=False),
        },
    ),
    Case(
        "fp16.fp16_master_weights_and_grads",
        {"fp16": {"fp16_master_weights_and_grads": True}, **zero(1)},
    ),
    Case(
        "bf16.bf16_master_weights_and_grads",
        {
            "bf16": {
                "enabled": True,
                "bf16_master_weights_and_grads": True,
                "bf16_optimizer_states": True,
            },
            **zero(1, offload_optimizer=CPU),
        },
    ),
    Case(
        f"{ZERO}.compute_grad_norm",
        {
            "gradient_clipping": 0,
            **zero(2, compute_grad_norm=False, offload_optimizer=CPU),
        },
    ),
    Case("data_types.grad_accum_dtype", {"data_types": {"grad_accum_dtype": "bf16"}}),
    Case(f"{OPTIM}.ratio", zero(3, offload_optimizer=CPU | {"ratio": 0.5})),
    Case("prescale_gradients", {"prescale_gradients": True, **zero(3)}),
    Case(
        "managed_gradient_accumulation",
        {"managed_gradient_accumulation": False, **zero(0, overlap_comm=True)},
    ),
    Case("gradient_allreduce_op", {"gradient_allreduce_op": "sum", **zero(3)}),
    Case("prescale_gradients", {"prescale_gradients": True, **zero(2)}),
    Case("gradient_predivide_factor", {"gradient_predivide_factor": 2.0, **zero(2)}),
    Case(f"{ZERO}.legacy_stage1", zero(1, legacy_stage1=True)),
    Case(f"{ZERO}.zenflow", zero(2, zenflow={"topk_ratio": 0.1})),
    Case(f"{ZERO}.zero_quantized_weights", zero(3, zero_quantized_weights=True)),
    Case(
        "managed_gradient_accumulation",
        {
            "managed_gradient_accumulation": False,
            **zero(1, overlap_comm=True, reduce_bucket_size=5e7),
        },
    ),
    # Offloading.
    Case(f"{OPTIM}.device", zero(1, offload_optimizer={"device": "gpu"})),
    Case(f"{OPTIM}.device", zero(1, offload_optimizer={"device": "CPU"})),
    Case(OPTIM, zero(1, offload_optimizer=True)),
    Case(f"{OPTIM}.ratio", zero(2, offload_optimizer=CPU | {"ratio": 0.5})),
    Case(f"{OPTIM}.ratio", zero(3, offload_optimizer=CPU | {"ratio": 1.5})),
    Case(
        f"{OPTIM}.super_offload",
        zero(3, offload_optimizer=CPU | {"super_offload": True}),
    ),
    Case(f"{OPTIM}.nvme_path", zero(3, offload_optimizer={"device": "nvme"})),
    Case(f"{PARAM}.nvme_path", zero(3, offload_param={"device": "nvme"})),
    Case(
        OPTIM,
        {"optimizer": DELETED, **zero(1, offload_optimizer=CPU)},
        client="AdamW",
    ),
    Case(
        "zero_allow_untested_optimizer",
        {"optimizer": DELETED, **zero(1)},
        client="SGD",
    ),
    # The optimizer.
    Case("optimizer.type", optimizer("AdamZ", lr=1)),
    Case("optimizer.type", optimizer("auto", lr=1)),
    Case("optimizer.type", optimizer("sgd", lr=1)),
    Case("optimizer.type", optimizer("OneBitAdam", lr=1)),
    Case("optimizer.type", {**optimizer("SGD", lr=1e-3), **zero(1)}),
    Case("optimizer", {"optimizer": None}),
    Case(f"{RATE}.lr", adamw(lr="auto")),
    Case(f"{RATE}.lr", adamw(lr="1e-3")),
    Case(f"{RATE}.lr", adamw(lr=-1)),
    Case(f"{RATE}.betas", adamw(betas="auto")),
    Case(f"{RATE}.betas", adamw(betas=[0.9])),
    Case(f"{RATE}.betas", adamw(betas=[0, 0.999])),
    Case(f"{RATE}.betas", adamw(betas=[0.9, 1.0])),
    Case(f"{RATE}.betas", adamw(betas=["0.9", "0.99"])),
    Case(f"{RATE}.weight_decay", adamw(weight_decay=-1)),
    Case(f"{RATE}.eps", adamw(eps="1e-8")),
    Case(f"{RATE}.lr", adamw(lr=[1e-3])),
    Case(f"{RATE}.momentum", optimizer("SGD", lr=1e-3, momentum=-1)),
    Case(f"{SCHEDULE}.warmup_min_lr", schedule("WarmupLR", warmup_min_lr=None)),
    Case(
        f"{SCHEDULE}.cycle_first_step_size",
        schedule(
            "OneCycle", cycle_min_lr=1e-4, cycle_max_lr=1e-3, cycle_first_step_size=0
        ),
    ),
    Case(f"{RATE}.learning_rate", adamw(learning_rate=1e-3)),
    Case(f"{RATE}.bias_correction", adamw(bias_correction=True)),
    Case(f"{RATE}.max_grad_norm", adamw(max_grad_norm=1.0)),
    Case(f"{RATE}.momentun", optimizer("SGD", lr=1e-3, momentun=0.9)),
    Case(f"{RATE}.foo", optimizer("Lamb", lr=1e-3, foo=1)),
    # The schedule.
    Case("scheduler.type", schedule("Cosine")),
    Case("scheduler.type", schedule("auto")),
    Case("scheduler.type", schedule("warmuplr", warmup_num_steps=10)),
    Case(f"{SCHEDULE}.warmup_steps", schedule("WarmupLR", warmup_steps=10)),
    Case(f"{SCHEDULE}.total_num_steps", schedule("WarmupLR", total_num_steps=10)),
    Case(f"{SCHEDULE}.warmup_num_steps", schedule("WarmupLR", warmup_num_steps=0)),
    Case(f"{SCHEDULE}.warmup_num_steps", schedule("WarmupLR", warmup_num_steps=10.0)),
    Case(f"{SCHEDULE}.warmup_num_steps", schedule("WarmupLR", warmup_num_steps="auto")),
    Case(f"{SCHEDULE}.warmup_max_lr", schedule("WarmupLR", warmup_max_lr="auto")),
    Case(f"{SCHEDULE}.warmup_max_lr", schedule("WarmupLR", warmup_max_lr="1e-3")),
    Case(f"{SCHEDULE}.total_num_steps", schedule("WarmupDecayLR", warmup_num_steps=1)),
    Case(
        f"{SCHEDULE}.total_num_steps",
        schedule("WarmupDecayLR", warmup_num_steps=1, total_num_steps="100"),
    ),
    Case(
        f"{SCHEDULE}.warmup_max_lr",
        schedule(
            "WarmupCosineLR", total_num_steps=100, warmup_num_steps=1, warmup_max_lr=1
        ),
    ),
    Case(f"{SCHEDULE}.step_size", schedule("StepLR")),
    Case(f"{SCHEDULE}.gama", schedule("StepLR", step_size=1, gama=0.1)),
    Case("scheduler.params", {"scheduler": {"type": "WarmupLR"}}),
    Case("scheduler", {"scheduler": None}),
]

STOPPED = [
    Case("gradient_clipping", {"gradient_clipping": "auto"}, "stops"),
    Case("gradient_clipping", {"gradient_clipping": "1.0"}, "stops"),
    Case("gradient_clipping", {"gradient_clipping": None}, "stops"),
    Case("steps_per_print", {"steps_per_print": "auto"}, "stops"),
    Case("steps_per_print", {"steps_per_print": 0}, "stops"),
    Case("gradient_predivide_factor", {"gradient_predivide_factor": 0}, "stops"),
    Case("fp16.auto_cast", {"fp16": {"auto_cast": True}}, "stops"),
    Case("optimizer.type", {"optimizer": {"params": {"lr": 1e-3}}}, "stops"),
    Case("optimizer.type", {"optimizer": {}}, "stops"),
    Case("optimizer.type", {"optimizer": {"type": None}}, "stops"),
    Case("optimizer.type", optimizer("LBFGS", lr=1), "stops"),
]

SOMETHING_ELSE = [
    Case("fp16.enabled", {"fp16": {"enabled": "auto"}}, "trains", {"dtype": "fp32"}),
    Case("bf16.enabled", {"bf16": {"enabled": "auto"}}, "trains", {"dtype": "fp32"}),
    Case(f"{ZERO}.stage", zero("auto"), "trains", {"stage": 0}),  # type: ignore[arg-type]
    Case(f"{ZERO}.stage", zero(True), "trains", {"stage": 1}),
    Case(
        f"{OPTIM}.device",
        zero(1, offload_optimizer={"device": "auto"}),
        *("trains", {"offloads_optimizer": False}),
    ),
    Case(
        OPTIM,
        zero(0, offload_optimizer=CPU),
        *("trains", {"offloads_optimizer": False}),
    ),
    Case(PARAM, zero(2, offload_param=CPU), "trains", {"offloads_parameters": False}),
    Case(
        f"{OPTIM}.device",
        zero(2, offload_optimizer={"device": "nvme", "nvme_path": "/nowhere"}),
        *("trains", {"offloads_optimizer": True}),
    ),
    Case("bf16.enabled", BF16, "trains", {"adam_steps": STEPS + 1}),
    Case(
        "bf16.bf16_master_weights_and_grads",
        {
            "bf16": {
                "bf16_master_weights_and_grads": True,
                "bf16_optimizer_states": True,
            },
            **zero(1),
        },
        *("trains", {"dtype": "fp32", "kept": "torch.bfloat16"}),
    ),
    Case(
        "bf16.bf16_master_weights_and_grads",
        {
            "bf16": {"enabled": True, "bf16_master_weights_and_grads": True},
            "data_types": {"grad_accum_dtype": "fp32"},
            **zero(1),
        },
        *("trains", {"dtype": "bf16", "kept": "None"}),
    ),
    Case(
        "bfloat16",
        {"bf16": {"enabled": False}, "bfloat16": {"enabled": True}, **zero(1)},
        *("trains", {"dtype": "fp32"}),
    ),
    Case("gradient_acumulation_steps", {"gradient_acumulation_steps": 4}, "trains"),
    Case("foo", {"foo": 1}, "trains"),
    Case("data_types.foo", {"data_types": {"foo": 1}}, "trains"),
    Case("optimizer.foo", {"optimizer": BASE["optimizer"] | {"foo": 1}}, "trains"),
    Case("bf16.enabled", {"bf16.enabled": True}, "trains", {"dtype": "fp32"}),
    Case(
        "managed_gradient_accumulation",
        {"managed_gradient_accumulation": None},
        "trains",
    ),
    Case("offload_optimizer", {"offload_optimizer": CPU}, "trains"),
    Case("gradient_clipping", {"gradient_clipping": -1}, "trains", {"clips": -1}),
    Case("dump_state", {"dump_state": "false"}, "trains"),
    Case("dataloader_drop_last", {"dataloader_drop_last": "auto"}, "trains"),
    Case(f"{ZERO}.reduce_bucket_size", zero(1, reduce_bucket_size=True), "trains"),
    Case("train_batch_size", {"train_batch_size": True}, "trains"),
    Case(MICRO, {MICRO: 1.5}, "trains"),
    Case("sequence_parallel_size", {"sequence_parallel_size": 2}, "trains"),
    Case(
        "activation_checkpointing.partitioned_activations",
        {"activation_checkpointing": {"partitioned_activations": True}},
        "trains",
    ),
    Case("scheduler.type", {"scheduler": {"params": {}}}, "trains", {"lr": 1e-3}),
    Case("scheduler.type", {"scheduler": {}}, "trains", {"lr": 1e-3}),
    Case(f"{RATE}.amsgrad", adamw(amsgrad="false"), "trains"),
    Case(f"{RATE}.adam_w_mode", adamw(adam_w_mode="auto"), "trains"),
    Case(f"{RATE}.weight_decay", adamw(weight_decay=True), "trains"),
    Case(
        f"{SCHEDULE}.warmup_type",
        schedule("WarmupLR", warmup_num_steps=10, warmup_type="cosine"),
        "trains",
    ),
    Case(
        f"{SCHEDULE}.warmup_num_steps",
        schedule("WarmupDecayLR", warmup_num_steps=10, total_num_steps=5),
        "trains",
    ),
    Case(f"{SCHEDULE}.warmup_max_lr", schedule("WarmupLR", warmup_max_lr=-1), "trains"),
    Case("pipeline", {"pipeline": {"stages": 2}, **zero(2)}, "trains"),
]

WARNED = [
    Case("_foo", {"_foo": 1}),
    Case("data_types.comment", {"data_types": {"comment": "mine"}}),
    Case(f"{ZERO}.reduce_bucket_size", zero(2, reduce_bucket_size="50_000_000")),
    Case(ZERO, {ZERO: True}),
    Case(f"{ZERO}.cpu_offload", zero(2, cpu_offload=True)),
    Case(
        f"{ZERO}.cpu_offload_use_pin_memory", zero(2, cpu_offload_use_pin_memory=True)
    ),
    Case(
        f"{ZERO}.stage3_gather_fp16_weights_on_model_save",
        zero(3, stage3_gather_fp16_weights_on_model_save=True),
    ),
    Case(f"{ZERO}.stage", zero("2")),  # type: ignore[arg-type]
    Case(f"{ZERO}.overlap_comm", zero(1, overlap_comm="true", reduce_bucket_size=5e7)),
    Case(f"{ZERO}.ignore_unused_parameters", zero(2, ignore_unused_parameters="auto")),
    Case(f"{ZERO}.stage3_max_live_parameters", zero(2, stage3_max_live_parameters=1e9)),
    Case(f"{ZERO}.max_live_parameters", zero(2, max_live_parameters=1e9)),
    Case(f"{ZERO}.zero_quantized_weights", zero(2, zero_quantized_weights=True)),
    Case(f"{PARAM}.nvme_path", zero(3, offload_param=CPU | {"nvme_path": "/nowhere"})),
    Case(PARAM, zero(3, offload_param={"pin_memory": True})),
    Case(OPTIM, zero(2, offload_optimizer={"pin_memory": True})),
    Case(f"{ZERO}.reduce_bucket_size", zero(2, reduce_bucket_size=1e9)),
    Case(f"{ZERO}.reduce_bucket_size", zero(1, overlap_comm=True)),
    Case(f"{RATE}.lr", adamw(lr=0)),
    Case("optimizer", zero(1), client="AdamW"),
    Case(f"{SCHEDULE}.warmup_max_lr", schedule("WarmupLR", warmup_max_lr=1e-2)),
    Case(
        f"{SCHEDULE}.warmup_max_lr",
        adamw(lr=2e-5)
        | schedule("WarmupDecayLR", warmup_num_steps=1, total_num_steps=100),
    ),
]
WARNED = [
    Case(case.key, case.changes, "trains", severity="warning", client=case.client)
    for case in WARNED
]


def with_text(key: str) -> dict[str, Any]:
    """Return a config in which a text is the value of a key that takes none."""
    config: dict[str, Any] = {}
    section = config
    *parents, name = key.split(".")
    for parent in parents:
        section = section.setdefault(parent, {})
    if parents == ["flops_profiler"]:
        section["enabled"] = True
    section[name] = WRONG_TEXT
    return config


WRONG_TEXT = "zz"
UNCHECKED = (
    *("allgather_size", "data_parallel_size", "data_types.buffer_dtype"),
    *("activation_checkpointing.number_checkpoints", "aio.block_size"),
    *("aio.queue_depth", "aio.intra_op_parallelism", "data_efficiency.seed"),
    *("pipeline.activation_checkpoint_interval",),
    *("torch_autocast.lower_precision_safe_modules",),
)
TEXTS = [
    *(Case(key, with_text(key)) for key in AT_START),
    *(Case(key, with_text(key), "stops") for key in (*AT_FIRST_STEP, *AT_PROFILE)),
    *(Case(key, with_text(key), "trains") for key in UNCHECKED),
]
CASES = [*REFUSED, *STOPPED, *SOMETHING_ELSE, *WARNED, *TEXTS]
