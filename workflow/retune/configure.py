"""The step `configure`: settings and hardware to a complete DeepSpeed config."""

import json
import logging
from pathlib import Path
from typing import Any

from retune.artifacts.model_facts import ModelFacts
from retune.errors import RetuneError
from retune.model_states import GB, offloaded_to_cpu_bytes, planned_states_bytes
from retune.planning.deepspeed_config import deepspeed_config
from retune.planning.hardware import Hardware, known, resolve_hardware
from retune.planning.strategy import Decision, decide, offloaded_parts
from retune.publishing import write_json, write_sealed, write_text
from retune.quantities import counted, parameters
from retune.settings import ConfigureSettings, HardwareSettings
from retune.verifying import WEIGHTS, read_verified, verify_folder

log = logging.getLogger(__name__)


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
