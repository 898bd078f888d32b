"""The step `configure`: settings and hardware to a complete DeepSpeed config.

This is where a memory model belongs: `choose_micro_batch_size` and
`choose_zero_stage` are rules of thumb, and say so in the plan.
"""

import json
import logging
import os
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, TypeVar

from retune.artifacts.model_facts import ModelFacts
from retune.errors import RetuneError
from retune.model_states import (
    GB,
    adds_up_in_fp32,
    model_states_bytes,
    offloaded_to_cpu_bytes,
    planned_states_bytes,
)
from retune.publishing import write_json, write_sealed, write_text
from retune.quantities import counted, parameters
from retune.settings import (
    ConfigureSettings,
    HardwareSettings,
    default_of,
    fp16_problems,
    split_problems,
)
from retune.verifying import WEIGHTS, read_verified, verify_folder

log = logging.getLogger(__name__)

Value = TypeVar("Value")

# Ranks on a node without GPUs, for `gpus_per_node: auto`.
CPU_RANKS = 2
# Tokens per rank and forward pass that `micro_batch_size: auto` does not exceed.
TOKENS_PER_PASS = {"cpu": 2048, "cuda": 8192}
UNKNOWN_MEMORY = "; whether that fits is not known without hardware.gpu_memory_gb"
# Dynamic loss scaling for fp16, with DeepSpeed's own numbers.
LOSS_SCALING = {
    "enabled": True,
    "loss_scale": 0,
    "initial_scale_power": 16,
    "loss_scale_window": 1000,
    "hysteresis": 2,
    "min_loss_scale": 1,
}
# Share of a GPU's memory that model states may take before ZeRO-3 is chosen.
SHARE_FOR_STATES = 0.6


@dataclass(frozen=True)
class Decision:
    """One resolved value and the reason for it."""

    setting: str
    value: Any
    why: str


@dataclass(frozen=True)
class Hardware:
    """The machines of the run; memory and name are None where nobody said."""

    accelerator: str
    nodes: int
    gpus_per_node: int
    gpu_memory_gb: float | None
    cpu_memory_gb: float | None
    gpu_name: str | None = None
    has_bf16: bool = True

    @property
    def world_size(self) -> int:
        """Number of ranks."""
        return self.nodes * self.gpus_per_node


def run(
    settings: ConfigureSettings,
    hardware: HardwareSettings,
    base: Path,
    token_metrics: Path,
    plan: Path,
) -> str:
    """Write deepspeed.json, plan.json and plan.md.

    Args:
        settings: The `configure` section.
        hardware: The `hardware` section.
        base: Folder of the base model that fetch made (models/base).
        token_metrics: JSON file that tokenize wrote (metrics/tokens.json).
        plan: Folder to write into: the DeepSpeed config, and why it is so (plan).
    """
    verify_folder(base, "fetch", leave_out=[WEIGHTS])
    tokens = read_verified(token_metrics, "tokenize")
    resolved = resolve_hardware(hardware)
    num_parameters = ModelFacts.read(base).num_parameters
    sequence_length = tokens["sequence_length"]
    blocks = tokens["splits"]["train"]["blocks"]
    decisions = decide(settings, resolved, num_parameters, sequence_length)
    values = {decision.setting: decision.value for decision in decisions}
    check_cpu_memory(values, resolved, num_parameters)
    warnings = find_warnings(values["global_batch_size"], blocks)
    for warning in warnings:
        log.warning("%s", warning)
    facts = {
        **values,
        "world_size": resolved.world_size,
        "sequence_length": sequence_length,
        "num_parameters": num_parameters,
        "tokens_per_step": values["global_batch_size"] * sequence_length,
        "train_blocks": blocks,
        "warnings": warnings,
        "model_states_gb_per_rank": round(
            planned_states_bytes(
                *(num_parameters, values, resolved.world_size),
                offloaded_parts(settings, resolved),
            )
            / GB,
            4,
        ),
        "peak_tflops": known(hardware.peak_tflops),
        "hardware": vars(resolved),
    }
    write_json(plan / "deepspeed.json", deepspeed_config(values, hardware.nvme_path))
    write_sealed(
        plan / "plan.json",
        {**facts, "decisions": [vars(decision) for decision in decisions]},
        [plan / "deepspeed.json"],
    )
    write_text(plan / "plan.md", describe(facts, decisions))
    return "; ".join([summarize(values, resolved), *warnings])


def find_warnings(batch_size: int, blocks: int) -> list[str]:
    """Return what of the batch is hardly meant, a line each."""
    if batch_size <= blocks:
        return []
    return [
        f"configure.global_batch_size: {batch_size:,} is more than the {blocks:,}"
        f" training blocks: each step goes over them {batch_size / blocks:.2g} times,"
        " whatever finetune.epochs"
    ]


def decide(
    settings: ConfigureSettings,
    hardware: Hardware,
    num_parameters: int,
    sequence_length: int,
) -> list[Decision]:
    """Return every value of the strategy, each with its reason."""
    precision = choose_precision(settings, hardware)
    stages = settings.pipeline_stages
    shares = max(1, hardware.world_size // stages)
    micro = choose_micro_batch_size(settings, hardware, shares, sequence_length)
    problems = split_problems(settings, hardware.world_size, micro.value, micro.value)
    problems += fp16_problems(hardware.accelerator, precision.value)
    if problems:
        raise RetuneError("\n".join(problems))
    accumulation_steps = settings.global_batch_size // (micro.value * shares)
    stage = choose_zero_stage(
        settings, hardware, num_parameters, precision.value, accumulation_steps
    )
    if stage.value == 0 and precision.value != "fp32":
        raise RetuneError(
            f"configure.zero_stage: 0 with precision {precision.value} takes one Adam"
            " step too many in DeepSpeed 0.19: use 1, or precision: fp32"
        )
    return [
        precision,
        stage,
        given(settings, "offload_optimizer"),
        given(settings, "offload_param"),
        given(settings, "global_batch_size"),
        micro,
        Decision(
            "gradient_accumulation_steps",
            accumulation_steps,
            f"{settings.global_batch_size} sequences = {micro.value} per rank x"
            f" {shares} {'ranks' if stages == 1 else 'pipelines'} x this",
        ),
        given(settings, "pipeline_stages"),
        given(settings, "activation_checkpointing"),
        choose_attention(settings, hardware, precision.value),
        given(settings, "gradient_clipping"),
    ]


def given(settings: ConfigureSettings, key: str) -> Decision:
    """Return a value that nobody had to choose."""
    value = getattr(settings, key)
    is_default = value == default_of(settings, key)
    return Decision(key, value, "the default" if is_default else "set in params.yaml")


def choose_precision(settings: ConfigureSettings, hardware: Hardware) -> Decision:
    """Return fp32, bf16 or fp16."""
    if settings.precision != "auto":
        return Decision("precision", settings.precision, "set in params.yaml")
    if hardware.accelerator == "cpu":
        return Decision(
            "precision",
            "fp32",
            "most CPUs compute fp32 two to three times faster than bf16",
        )
    if not hardware.has_bf16:
        return Decision("precision", "fp32", "this GPU only emulates bf16")
    return Decision("precision", "bf16", "GPUs since Ampere compute it at full speed")


def choose_attention(
    settings: ConfigureSettings, hardware: Hardware, precision: str
) -> Decision:
    """Return the attention kernels: flash where it is installed and can be used."""
    key = "attn_implementation"
    if settings.attn_implementation != "auto":
        return Decision(key, settings.attn_implementation, "set in params.yaml")
    if hardware.accelerator == "cpu":
        return Decision(key, "sdpa", "PyTorch's own kernels")
    if precision == "fp32":
        return Decision(key, "sdpa", "flash attention computes in bf16 and fp16 only")
    if find_spec("flash_attn") is None:
        return Decision(key, "sdpa", "flash-attn is not installed here")
    return Decision(key, "flash_attention_2", "flash-attn is installed")


def choose_micro_batch_size(
    settings: ConfigureSettings,
    hardware: Hardware,
    shares: int,
    sequence_length: int,
) -> Decision:
    """Return the largest divisor of one of `shares` within TOKENS_PER_PASS."""
    if settings.micro_batch_size != "auto":
        return Decision(
            "micro_batch_size", settings.micro_batch_size, "set in params.yaml"
        )
    share = max(1, settings.global_batch_size // shares)
    budget = TOKENS_PER_PASS[hardware.accelerator]
    most = max(1, budget // sequence_length)
    micro = max(size for size in range(1, min(share, most) + 1) if share % size == 0)
    return Decision(
        "micro_batch_size",
        micro,
        f"rule of thumb: at most {budget:,} tokens per rank and pass on"
        f" {hardware.accelerator}",
    )


def choose_zero_stage(
    settings: ConfigureSettings,
    hardware: Hardware,
    num_parameters: int,
    precision: str,
    accumulation_steps: int,
) -> Decision:
    """Return stage 2 where the model states fit beside activations, else 3."""
    if settings.zero_stage != "auto":
        return Decision("zero_stage", settings.zero_stage, "set in params.yaml")
    if settings.pipeline_stages > 1:
        return Decision("zero_stage", 1, "goes with pipeline_stages")
    if settings.offload_param != "none" or settings.offload_optimizer == "nvme":
        return Decision("zero_stage", 3, "what is offloaded needs it")
    in_fp32 = adds_up_in_fp32(
        precision, 2, accumulation_steps, settings.offload_optimizer
    )
    needed = (
        model_states_bytes(
            *(num_parameters, precision, 2, hardware.world_size),
            offloaded=offloaded_parts(settings, hardware),
            gradients_in_fp32=in_fp32,
        )
        / GB
    )
    if hardware.gpu_memory_gb is None or hardware.accelerator == "cpu":
        return Decision(
            "zero_stage",
            2,
            f"shards gradients and optimizer states: {needed:.2f} GB a rank"
            + ("" if hardware.accelerator == "cpu" else UNKNOWN_MEMORY),
        )
    room = SHARE_FOR_STATES * hardware.gpu_memory_gb
    if needed <= room:
        return Decision(
            "zero_stage",
            2,
            f"model states take {needed:.1f} of {room:.1f} GB set aside",
        )
    return Decision(
        "zero_stage",
        3,
        f"at stage 2 model states would take {needed:.1f} GB, more than the"
        f" {room:.1f} GB set aside",
    )


def offloaded_parts(settings: ConfigureSettings, hardware: Hardware) -> tuple[str, ...]:
    """Return what is not in a rank's own memory; on CPU ranks it all is."""
    if hardware.accelerator == "cpu":
        return ()
    keys = {"optimizer": settings.offload_optimizer, "param": settings.offload_param}
    return tuple(key for key, where in keys.items() if where != "none")


def check_cpu_memory(
    values: dict[str, Any], hardware: Hardware, num_parameters: int
) -> None:
    """Raise RetuneError if what is offloaded is more than a node's main memory."""
    offloaded = offloaded_to_cpu_bytes(num_parameters, values) / hardware.nodes / GB
    if hardware.cpu_memory_gb is not None and offloaded > hardware.cpu_memory_gb:
        raise RetuneError(
            f"hardware.cpu_memory_gb: {hardware.cpu_memory_gb:g}, but offloading takes"
            f" {offloaded:,.1f} GB on each node: offload less, or use more nodes"
        )


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


def resolve_hardware(settings: HardwareSettings) -> Hardware:
    """Return the hardware with `auto` replaced by what this machine has."""
    if settings.accelerator == "cpu":
        return cpu_ranks(settings)
    import torch

    here = torch.cuda.is_available()
    if settings.accelerator == "auto" and not here:
        return cpu_ranks(settings)
    if settings.gpus_per_node == "auto" and not here:
        raise RetuneError(
            "hardware.gpus_per_node: auto, but this machine has no GPU to count;"
            " give the number of the machine that will train"
        )
    # Several nodes, or a machine without GPUs: this is not where the run will be.
    is_this_machine = here and settings.nodes == 1
    device = torch.cuda.get_device_properties(0) if is_this_machine else None
    return Hardware(
        accelerator="cuda",
        nodes=settings.nodes,
        gpus_per_node=known(settings.gpus_per_node) or torch.cuda.device_count(),
        gpu_memory_gb=known(settings.gpu_memory_gb)
        or (device and round(device.total_memory / GB, 1)),
        cpu_memory_gb=known(settings.cpu_memory_gb)
        or (main_memory_gb() if is_this_machine else None),
        gpu_name=device and device.name,
        has_bf16=device is None
        or torch.cuda.is_bf16_supported(including_emulation=False),
    )


def cpu_ranks(settings: HardwareSettings) -> Hardware:
    """Return hardware whose ranks are processes on CPUs, two a node if not told."""
    return Hardware(
        accelerator="cpu",
        nodes=settings.nodes,
        gpus_per_node=known(settings.gpus_per_node) or CPU_RANKS,
        gpu_memory_gb=None,
        cpu_memory_gb=known(settings.cpu_memory_gb),
    )


def known(value: Value | Literal["auto"]) -> Value | None:
    """Return a setting's value, None for `auto`."""
    return None if value == "auto" else value


def main_memory_gb() -> float:
    """Return the main memory of this machine, GB."""
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GB, 1)


def describe(facts: dict[str, Any], decisions: list[Decision]) -> str:
    """Return the plan as Markdown."""
    hardware = facts["hardware"]
    device = hardware["gpu_name"] or hardware["accelerator"]
    rows = [("setting", "value", "why"), ("---", "---", "---")]
    rows += [(d.setting, f"`{json.dumps(d.value)}`", d.why) for d in decisions]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    warnings = "".join(f"**{warning}**\n\n" for warning in facts["warnings"])
    return (
        "# Plan\n\n"
        f"{parameters(facts['num_parameters'])} on {hardware['nodes']} x"
        f" {counted(hardware['gpus_per_node'], 'rank')}, {device}."
        f" Each optimizer step sees {facts['tokens_per_step']:,} tokens"
        f" ({facts['global_batch_size']} sequences of {facts['sequence_length']});"
        f" an epoch is {facts['train_blocks'] / facts['global_batch_size']:,.1f} steps."
        f"\n\n{warnings}"
        f"{table}\n\n"
        f"Weights, gradients and Adam states take"
        f" {facts['model_states_gb_per_rank']:.2f} GB on each rank; activations come on"
        " top and are not predicted yet.\n"
    )


def summarize(values: dict[str, Any], hardware: Hardware) -> str:
    """Return the plan in one line."""
    stages = values["pipeline_stages"]
    device = "GPU" if hardware.accelerator == "cuda" else "CPU"
    ranks = counted(hardware.world_size, f"{device} rank")
    return (
        (f"pipeline of {stages} stages, " if stages > 1 else "")
        + f"ZeRO-{values['zero_stage']}, {values['precision']} on {ranks}: batch"
        f" {values['global_batch_size']} = {values['micro_batch_size']} x"
        f" {values['gradient_accumulation_steps']} x {hardware.world_size // stages}"
    )
