"""The plan of a training, and why it is so, as rows of plain text."""

import json

from retune.artifacts.plan import Plan
from retune.planning.memory_table import peak_text
from retune.quantities import counted, parameters
from retune.reporting.evaluation_rows import Row
from retune.reporting.run_results import ReportResults


def plan_rows(run: ReportResults) -> list[Row]:
    """Return setting, value and reason of each decision of `configure`."""
    return [
        (each.setting, json.dumps(each.value).strip('"'), each.why)
        for each in run.reasons.decisions
    ]


def plan_text(run: ReportResults) -> str:
    """Return the size of the training in two sentences, then the plan's warnings."""
    plan, hardware = run.plan, hardware_text(run.plan, run.reasons.gpu_name)
    return (
        f"{parameters(plan.num_parameters)}; {hardware};"
        f" each step sees {plan.tokens_per_step:,} tokens"
        f" ({plan.global_batch_size:,} sequences of {plan.sequence_length:,})."
        f" {peak_text(run.reasons.memory)}"
        + "".join(f" {warning}." for warning in run.reasons.warnings)
    )


def hardware_text(plan: Plan, gpu: str | None) -> str:
    """Return the number of nodes and ranks, and the GPU of each rank if it is known."""
    ranks = counted(plan.ranks_per_node, "rank")
    nodes = "" if plan.nodes == 1 else f"{plan.nodes} nodes, each with "
    if plan.accelerator == "cpu":
        return f"CPU: {nodes}{ranks}"
    return f"GPU: {nodes}{ranks}" + (f" on {gpu}" if gpu else "")
