"""What identifies a training: its checkpoints are under `state/KEY/`.

The identity leaves out what may change between two starts of one run: what is kept of
it, how it is watched, on how many ranks a batch is computed, and in how many
micro-batches.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

from pydantic import JsonValue

from retune.artifacts.plan import Plan
from retune.artifacts.publishing import MANIFEST, read_json, sha256, write_json
from retune.artifacts.run_spec import RunSpec
from retune.planning.memory import accumulates_in_fp32
from retune.settings import Precision
from retune.step_code import code_files, hash_file

FILE = "identity.json"

# The one setting that decides a result and is no part of the identity: it chooses among
# the checkpoints of a training.
CHOOSES_CHECKPOINT = "load_best_model_at_end"
# What of the plan decides the weights, beside the DeepSpeed config.
OF_PLAN = frozenset(
    {
        "global_batch_size",
        "sequence_length",
        "precision",
        "pipeline_stages",
        "attn_implementation",
        "chunked_cross_entropy",
        "torch_compile",
        "use_liger_kernel",
        "optim",
    }
)
# What of the DeepSpeed config is no part of the identity: how a batch is divided.
# Of `data_types` one type depends on the accumulation, see
# `planning/deepspeed_config.py`; the other, `param_dtype`, can only repeat the
# precision.
NOT_OF_DEEPSPEED = frozenset(
    {"train_micro_batch_size_per_gpu", "gradient_accumulation_steps", "data_types"}
)
# Nor is what DeepSpeed shows and checks, and how and when it moves what it computes
# with: a run goes on by another bucket, as it does on another number of ranks.
# `sub_group_size` and `round_robin_gradients` are not among these, because checkpoints
# depend on them, nor are `reduce_scatter` and `contiguous_gradients`, by which
# gradients are divided earlier.
SHOWN_OR_MOVED = frozenset(
    {
        *("steps_per_print", "wall_clock_breakdown", "memory_breakdown", "dump_state"),
        *("log_level", "timers.throughput.enabled", "timers.throughput.synchronized"),
        *("zero_allow_untested_optimizer", "zero_force_ds_cpu_optimizer"),
        *(
            f"zero_optimization.{key}"
            for key in (
                *("overlap_comm", "reduce_bucket_size", "allgather_bucket_size"),
                *("allgather_partitions", "use_multi_rank_bucket_allreduce"),
                "ignore_unused_parameters",
                *("stage3_prefetch_bucket_size", "stage3_max_live_parameters"),
                *("stage3_max_reuse_distance", "stage3_param_persistence_threshold"),
                *("stage3_model_persistence_threshold", "stage3_allgather_sequential"),
                "stage3_module_granularity_threshold",
                "stage3_use_all_reduce_for_fetch_params",
                "stage3_gather_16bit_weights_on_model_save",
                *("enable_sanity_checks", "log_trace_cache_warnings"),
                *("offload_optimizer.pin_memory", "offload_optimizer.buffer_count"),
                *("offload_optimizer.pipeline_read", "offload_param.pin_memory"),
                *("offload_optimizer.pipeline_write", "offload_param.buffer_count"),
                *("offload_param.buffer_size", "offload_param.max_in_cpu"),
                "offload_optimizer.fast_init",
            )
        ),
        *(
            f"aio.{key}"
            for key in (
                *("block_size", "queue_depth", "intra_op_parallelism"),
                *("single_submit", "overlap_events", "use_gds"),
            )
        ),
    }
)
# Code of the step that measures, reports and publishes, and decides no weight: a change
# reruns `finetune`, but a run that was interrupted goes on. What is written into the
# run's folder and read again is none of these.
NOT_OF_WEIGHTS = frozenset(
    {
        "artifacts/finetune_metrics.py",
        "artifacts/memory_prediction.py",
        "artifacts/provenance.py",
        "artifacts/training_history.py",
        "measuring/device_memory.py",
        "measuring/history_tables.py",
        "measuring/model_flops.py",
        "measuring/phase_peaks.py",
        "measuring/profiling.py",
        "measuring/provenance.py",
        "measuring/speed.py",
        "planning/prediction_line.py",
        "planning/score.py",
        "steps/finetune.py",
        "training/metrics.py",
        "training/non_finite_steps.py",
    }
)


@dataclass(frozen=True)
class RunIdentity:
    """All that decides the result of a training.

    Attributes:
        values: JSON values by the names that users know, such as
            `finetune.learning_rate` or `bf16.enabled`; hashes of files and code, and
            versions of packages.
    """

    values: Mapping[str, JsonValue]

    @classmethod
    def of(cls, run: RunSpec) -> Self:
        """Return the identity of a training."""
        settings = run.settings.decisive()
        del settings[CHOOSES_CHECKPOINT]
        config = {k: v for k, v in run.deepspeed.items() if k not in NOT_OF_DEEPSPEED}
        of_config = {k: v for k, v in leaves(config) if k not in SHOWN_OR_MOVED}
        return cls(
            {
                **{f"finetune.{key}": value for key, value in settings.items()},
                **run.plan.model_dump(include=set(OF_PLAN)),
                "grad_accum_dtype": accumulation_dtype(run.plan),
                "hardware.accelerator": run.plan.accelerator,
                **of_config,
                "the base model": sha256(run.base / MANIFEST),
                "the tokens": sha256(run.tokens / MANIFEST),
                **{file: hash_file(file) for file in code_of_weights()},
                **{package: version(package) for package in packages_of_weights(run)},
            }
        )

    @classmethod
    def read(cls, run: Path) -> Self | None:
        """Return the identity in a run's folder; None if it is missing or damaged."""
        try:
            values = read_json(run / FILE)
        except (FileNotFoundError, ValueError):
            return None
        return cls(values) if isinstance(values, dict) else None

    def write(self, run: Path) -> None:
        """Write the identity into a run's folder."""
        write_json(run / FILE, self.values)

    @property
    def key(self) -> str:
        """Name of the run's folder: a hash of the identity, 16 hex digits."""
        text = json.dumps(self.values, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def changes_since(self, earlier: "RunIdentity") -> list[str]:
        """Return what differs from the identity of an earlier run, in words."""
        before, now = earlier.values, self.values
        return [
            change_in_words(name, before.get(name), now.get(name))
            for name in {**now, **before}
            if now.get(name, ...) != before.get(name, ...)
        ]


def accumulation_dtype(plan: Plan) -> Precision:
    """Return the type in which gradients are added up, if there are several to add."""
    several = plan.model_copy(update={"gradient_accumulation_steps": 2})
    return "fp32" if accumulates_in_fp32(several) else plan.precision


def code_of_weights() -> list[str]:
    """Return the files of the library that the weights depend on."""
    return [file for file in code_files("finetune") if file not in NOT_OF_WEIGHTS]


def packages_of_weights(run: RunSpec) -> list[str]:
    """Return the packages that compute the weights of a training."""
    packages = ["torch", "deepspeed", "transformers"]
    lora = run.settings.lora
    if lora:
        packages.append("peft")
    if (lora and lora.load_in_4bit) or run.plan.optim == "adamw_8bit":
        packages.append("bitsandbytes")
    if run.plan.use_liger_kernel:
        packages.append("liger-kernel")
    return packages


def leaves(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each value of nested dictionaries with its path, such as `bf16.enabled`."""
    for key, value in config.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def change_in_words(name: str, before: JsonValue, now: JsonValue) -> str:
    """Return a sentence on a value that has changed; hashes are left out."""
    if name.startswith("the ") or name.endswith(".py"):
        return f"{name} changed"
    return f"{name} was {json.dumps(before)}, is {json.dumps(now)}"


def open_run(state: Path, identity: RunIdentity) -> Path:
    """Return the folder of a run, made if it is missing."""
    run = state / identity.key
    run.mkdir(parents=True, exist_ok=True)
    identity.write(run)
    return run
