"""What becomes of each key of a user's DeepSpeed config: kept, or refused.

A key is kept if DeepSpeed does what it says under retune's training, too. Any other
must say what DeepSpeed does anyway, or be off; otherwise it is refused, so that no key
is ignored. The keys that the plan knows are in `given_settings.py`.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from retune.artifacts.plan import Plan
from retune.linting.finding import Finding, error, warning
from retune.linting.known_keys import TOP, at
from retune.linting.transformers_auto import BY_ARGUMENTS, FILLED
from retune.linting.value import Section, Value
from retune.planning.given_config import ZERO, GivenConfig, leaves, look_up, prefixes

# Keys by which the plan is made.
PLANNED = frozenset(
    {
        "train_batch_size",
        "train_micro_batch_size_per_gpu",
        "gradient_accumulation_steps",
        "gradient_clipping",
        "fp16.enabled",
        "bf16.enabled",
        "bf16.bf16_master_weights_and_grads",
        "bf16.bf16_optimizer_states",
        "data_types.grad_accum_dtype",
        f"{ZERO}.stage",
        f"{ZERO}.offload_optimizer.device",
        f"{ZERO}.offload_param.device",
    }
)
OF_ZERO = (
    *("contiguous_gradients", "reduce_scatter", "reduce_bucket_size"),
    *("use_multi_rank_bucket_allreduce", "allgather_partitions"),
    *("allgather_bucket_size", "overlap_comm", "sub_group_size"),
    *("stage3_prefetch_bucket_size", "stage3_param_persistence_threshold"),
    *("stage3_model_persistence_threshold", "stage3_max_live_parameters"),
    *("stage3_max_reuse_distance", "stage3_module_granularity_threshold"),
    *("stage3_use_all_reduce_for_fetch_params", "stage3_allgather_sequential"),
    # `consolidate` joins the weights at every stage, whatever it says.
    "stage3_gather_16bit_weights_on_model_save",
    *("memory_efficient_linear", "ignore_unused_parameters", "round_robin_gradients"),
    *("enable_sanity_checks", "log_trace_cache_warnings"),
    *("offload_optimizer.pin_memory", "offload_optimizer.buffer_count"),
    *("offload_optimizer.pipeline_read", "offload_optimizer.pipeline_write"),
    *("offload_optimizer.fast_init", "offload_param.pin_memory"),
    *("offload_param.buffer_count", "offload_param.buffer_size"),
    "offload_param.max_in_cpu",
)
OF_AIO = (
    *("block_size", "queue_depth", "intra_op_parallelism", "single_submit"),
    *("overlap_events", "use_gds"),
)
ROUND_ROBIN = f"{ZERO}.round_robin_gradients"
# Keys that are written as they are given.
KEPT = frozenset(
    {
        *("fp16.loss_scale", "fp16.initial_scale_power", "fp16.loss_scale_window"),
        *("fp16.hysteresis", "fp16.consecutive_hysteresis", "fp16.min_loss_scale"),
        *("communication_data_type", "data_types.param_dtype"),
        *("prescale_gradients", "gradient_predivide_factor"),
        *("zero_allow_untested_optimizer", "zero_force_ds_cpu_optimizer"),
        *("steps_per_print", "wall_clock_breakdown", "memory_breakdown"),
        *("dump_state", "log_level"),
        *("timers.throughput.enabled", "timers.throughput.synchronized"),
        *(f"{ZERO}.{name}" for name in OF_ZERO),
        *(f"aio.{name}" for name in OF_AIO),
    }
)
# What would happen with what is refused, and what to write instead.
HISTORY = "results/finetune/history.csv has the loss of each step"
MONITOR = ("DeepSpeed would record the loss times a factor of its own", HISTORY)
PROFILER = ("it measures nothing here", "write finetune.profile: true instead")
DIVIDED = (
    "retune divides a model by ZeRO or into pipeline stages alone",
    "delete it; configure.pipeline_stages cuts a model into stages",
)
REFUSED = {
    "torch_autocast": (
        "weights would stay fp32, and the plan counts them in bf16 or fp16",
        'write "bf16": {"enabled": true} instead',
    ),
    "activation_checkpointing": (
        "the layers of Transformers do not ask DeepSpeed for it",
        "delete it, and write configure.activation_checkpointing: true",
    ),
    **dict.fromkeys(("tensorboard", "wandb", "csv_monitor", "comet"), MONITOR),
    **dict.fromkeys(("flops_profiler", "comms_logger"), PROFILER),
    "checkpoint": (
        "finetune saves checkpoints, and verifies them, in its own way",
        "delete it; finetune.save_steps and save_total_limit say which",
    ),
    "pipeline": ("the stages are not cut by it", DIVIDED[1]),
    **dict.fromkeys(
        ("tensor_parallel", "sequence_parallel_size", "data_parallel_size"), DIVIDED
    ),
    "compile": (
        "the layers are not compiled by it",
        "delete it, and write configure.torch_compile: true",
    ),
    "autotuning": (
        "configure plans without trials",
        'delete it, and leave out what it should find, or write "auto"',
    ),
    "gradient_allreduce_op": (
        "retune divides the loss by the tokens of all ranks, for their mean",
        "write mean, or delete it",
    ),
    "data_efficiency": ("tokenize and finetune order the data", "delete it"),
    **dict.fromkeys(
        (f"{ZERO}.offload_optimizer.nvme_path", f"{ZERO}.offload_param.nvme_path"),
        ("the folder is hardware.nvme_path", "delete it, and write it there"),
    ),
    f"{ZERO}.compute_grad_norm": (
        "finetune records each step's norm",
        "delete it",
    ),
    f"{ZERO}.offload_optimizer.ratio": (
        "the plan counts on all of the optimizer being offloaded",
        "write 1, or delete it",
    ),
    "bf16.check_grad_overflow": (
        "steps that are not finite would be taken",
        "write true, or delete it",
    ),
}
# Keys that are looked at by themselves.
OF_RETUNE = ("optimizer.type", "optimizer.params", "scheduler.type", "scheduler.params")
OTHERWISE = ("finetune was not made to train with it", "delete it")
# Settings that decide what these do in DeepSpeed.
OF_OPTIMIZER = {
    "lr": "finetune.learning_rate",
    "betas": "finetune.adam_beta1 and adam_beta2",
    "eps": "finetune.adam_epsilon",
    "weight_decay": "finetune.weight_decay",
}
OF_SCHEDULER = {
    "warmup_min_lr": "",
    "warmup_max_lr": "finetune.learning_rate",
    "warmup_num_steps": "finetune.warmup_steps",
    "total_num_steps": "finetune.max_steps",
}
# What the schedules of DeepSpeed that retune lacks come nearest to.
LIKE = {"WarmupCosineLR": "cosine"}
# The schedules that retune has as well, and what of them may be said.
SCHEDULES = ("WarmupLR", "WarmupDecayLR")
OF_WARMUP = {"warmup_min_lr": 0, "warmup_type": "log"}


def refused_keys(given: GivenConfig) -> Iterator[Finding]:
    """Yield the keys that retune would not train by, though DeepSpeed knows them."""
    seen: set[str] = set()
    for key in asked_for(given.values, TOP):
        if key in PLANNED or key in KEPT or key in OF_RETUNE:
            continue
        name = next((name for name in prefixes(key) if name in REFUSED), key)
        if name not in seen:
            seen.add(name)
            yield error(name, *REFUSED.get(name, OTHERWISE))
    yield from masters(given)
    yield from of_optimizer(given)
    yield from of_scheduler(given)


def asked_for(
    config: Mapping[str, Any], section: Section, prefix: str = ""
) -> Iterator[str]:
    """Yield the full names of the keys that do not say what DeepSpeed does anyway."""
    switch = section.keys.get("enabled")
    if isinstance(switch, Value) and prefix not in ("fp16.", "bf16."):
        enabled = config.get("enabled", switch.default)
        if switch.accepts(enabled) and not switch.converted(enabled):
            return  # The rest of it says nothing.
    for name, value in config.items():
        key, known = f"{prefix}{name}", section.keys.get(name)
        if isinstance(known, Section) and isinstance(value, Mapping):
            if known.more and value:
                yield key
            yield from asked_for(value, known, f"{key}.")
        elif isinstance(known, Value) and not is_default(key, known, value):
            yield key


def is_default(key: str, known: Value, value: Any) -> bool:
    """Return whether a value is DeepSpeed's default, or none at all."""
    if value == "auto":
        return key in FILLED or known.auto
    if not known.accepts(value):
        return True  # The linter says what is wrong.
    return bool(known.converted(value) == known.default)


def not_filled_in(given: GivenConfig) -> Iterator[Finding]:
    """Yield each "auto" of a key that is taken, which nothing would replace."""
    for key, value in leaves(given.values):
        known = at(key)
        if value != "auto" or key not in KEPT | PLANNED or key in FILLED:
            continue
        if isinstance(known, Value) and not known.auto:
            mend = f"write {known.words()}, or delete it"
            yield error(key, '"auto": nothing fills it in', mend)


def masters(given: GivenConfig) -> Iterator[Finding]:
    """Yield the finding for master weights in bf16 without moments in bf16."""
    key = "bf16.bf16_master_weights_and_grads"
    if given.value(key) and not given.value("bf16.bf16_optimizer_states"):
        happens = "the plan knows it with bf16_optimizer_states only"
        yield error(key, happens, "write bf16_optimizer_states: true as well")


def of_optimizer(given: GivenConfig) -> Iterator[Finding]:
    """Yield what the optimizer, which is retune's own, would not do."""
    kind = look_up(given.values, "optimizer.type")
    if isinstance(kind, str) and kind.lower() not in ("adam", "adamw", "auto"):
        happens = f"{kind}, but retune trains with AdamW"
        yield error("optimizer.type", happens, "write AdamW, or delete optimizer")
    for name, value in params_of(given, "optimizer"):
        key = f"optimizer.params.{name}"
        if value == "auto" and key in BY_ARGUMENTS:
            continue
        if name in OF_OPTIMIZER:
            happens = f"it is decided by {OF_OPTIMIZER[name]}"
            yield error(key, happens, f'write "auto" here, and {value} there')
        else:
            yield error(key, "retune makes AdamW itself", "delete it")


def of_scheduler(given: GivenConfig) -> Iterator[Finding]:
    """Yield what the schedule, which is retune's own, would not do."""
    if not look_up(given.values, "scheduler"):
        return
    kind = look_up(given.values, "scheduler.type")
    if kind not in SCHEDULES:
        like = LIKE.get(str(kind), "linear")
        happens = f"{kind} is none of retune's schedules" if kind else "is missing"
        mend = f"delete scheduler, and write finetune.lr_scheduler_type: {like}"
        yield error("scheduler.type", happens, mend)
        return
    for name, value in params_of(given, "scheduler"):
        key = f"scheduler.params.{name}"
        is_filled_in = value == "auto" and key in BY_ARGUMENTS
        if is_filled_in or value == OF_WARMUP.get(name, ...):
            continue
        if setting := OF_SCHEDULER.get(name):
            happens = f"it is decided by {setting}"
            yield error(key, happens, f'write "auto" here, and {value} there')
        else:
            what = OF_WARMUP.get(name)
            mend = "delete it" if what is None else f"write {what}, or delete it"
            yield error(key, f"retune's {kind} has no such option", mend)


def not_shown(given: GivenConfig) -> Iterator[Finding]:
    """Yield what DeepSpeed shows only where its log is wanted."""
    if given.value("log_level") in ("info", "debug"):
        return
    for key in ("wall_clock_breakdown", "dump_state"):
        if given.value(key):
            happens = "DeepSpeed's log, which says it, is off"
            yield warning(key, happens, 'write "log_level": "info" as well')


def without_timer(given: GivenConfig) -> Iterator[Finding]:
    """Yield what is said of DeepSpeed's throughput timer while that is off."""
    timer = "timers.throughput"
    if given.value(f"{timer}.synchronized") and not given.value(f"{timer}.enabled"):
        happens = "the throughput timer is off"
        mend = f"write {timer}.enabled: true as well, or delete it"
        yield warning(f"{timer}.synchronized", happens, mend)


def has_effect(key: str, plan: Plan) -> bool:
    """Return whether a key that is kept means anything to this plan.

    The others are left out; the linter warns of those that may be a mistake.
    """
    name = key.removeprefix(f"{ZERO}.")
    if key == ROUND_ROBIN:
        return plan.zero_stage in (1, 2)
    if name.startswith("offload_optimizer."):
        return plan.offload_optimizer != "none"
    if name.startswith("offload_param."):
        return plan.offload_param != "none"
    if key.startswith("fp16."):
        return plan.precision == "fp16"
    if key.startswith("aio."):
        return "nvme" in (plan.offload_optimizer, plan.offload_param)
    return not name.startswith("stage3_") or plan.zero_stage == 3


def params_of(given: GivenConfig, section: str) -> list[tuple[str, Any]]:
    """Return the parameters of the optimizer, or of the schedule."""
    params = look_up(given.values, f"{section}.params")
    return list(params.items()) if isinstance(params, Mapping) else []


def kept_values(given: GivenConfig) -> Iterator[tuple[str, Any]]:
    """Yield each key that is written as it is given, with its value for DeepSpeed."""
    for key, value in leaves(given.values):
        known = at(key)
        if key in KEPT and isinstance(known, Value) and known.accepts(value):
            kept = known.converted(value)
            is_whole = known.kind in ("integer", "number") and kept % 1 == 0
            yield key, int(kept) if is_whole else kept
