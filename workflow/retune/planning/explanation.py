"""A plan in words: as a page, and in one line."""

import json

from retune.artifacts.plan import Plan, Reasons
from retune.planning.aligned_table import aligned
from retune.planning.memory_table import memory_text
from retune.quantities import counted, parameters


def plan_page(plan: Plan, reasons: Reasons, figure: str | None = None) -> str:
    """Return the plan and the reasons for it as a page of Markdown.

    Args:
        plan: The plan.
        reasons: The reasons.
        figure: File beside the page with the figure of the memory; None: there is none.
    """
    device = reasons.gpu_name or plan.accelerator
    rows = [("setting", "value", "why")]
    rows += [(d.setting, f"`{json.dumps(d.value)}`", d.why) for d in reasons.decisions]
    shown = f"![Memory of a rank by phase and kind]({figure})\n\n" if figure else ""
    steps = reasons.train_blocks / plan.global_batch_size
    once = f"; all training sequences once are {steps:,.1f} steps" if steps else ""
    warnings = "".join(f"**{warning}**\n\n" for warning in reasons.warnings)
    return (
        "# Plan\n\n"
        f"{parameters(plan.num_parameters)} on {plan.nodes} x"
        f" {counted(plan.ranks_per_node, 'rank')}, {device}."
        f" Each optimizer step sees {plan.tokens_per_step:,} tokens"
        f" ({plan.global_batch_size} sequences of {plan.sequence_length}){once}."
        f"\n\n{warnings}"
        f"{aligned(rows)}\n"
        f"{frozen_text(plan)}{shown}{memory_text(reasons.memory)}"
    )


def frozen_text(plan: Plan) -> str:
    """Return a sentence on the frozen weights of a model with adapters."""
    if not plan.num_adapter_parameters:
        return ""
    in_4bit = plan.num_4bit_parameters
    how = (
        f"{parameters(in_4bit)} of them in 4 bits (NF4), the others in {plan.precision}"
        if in_4bit
        else f"in {plan.precision}"
    )
    return (
        f"Adapters of {parameters(plan.num_adapter_parameters)} are trained. The model"
        f" is frozen: its weights, {how}, have neither gradients nor states.\n\n"
    )


def plan_line(plan: Plan) -> str:
    """Return the plan in one line."""
    stages = plan.pipeline_stages
    device = "GPU" if plan.accelerator == "cuda" else "CPU"
    ranks = counted(plan.world_size, f"{device} rank")
    return (
        (f"pipeline of {stages} stages, " if stages > 1 else "")
        + f"ZeRO-{plan.zero_stage}, {plan.precision} on {ranks}: batch"
        f" {plan.global_batch_size} = {plan.micro_batch_size} x"
        f" {plan.gradient_accumulation_steps} x {plan.data_parallel_size}"
    )
