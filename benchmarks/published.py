"""Compares the speeds that are predicted of trainings with speeds that were published.

    python benchmarks/published.py

sets the tables of published.md anew. Nothing is trained: it takes a minute.
"""

import json
import os
import tempfile
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from statistics import median
from typing import Any

from published_trainings import MODELS, SOURCES, Published, published_trainings

from retune.planning.step_time import StepTime

PAGE = Path(__file__).with_suffix(".md")
RESULTS = "## Results\n"
GB = 1e9
# What a strategy does not say is as most others train.
PLAIN = {
    "zero_stage": 1,
    "offload_optimizer": "none",
    "offload_param": "none",
    "activation_checkpointing": False,
    "torch_compile": False,
    "use_liger_kernel": False,
    "attn_implementation": "varlen",
    "chunked_cross_entropy": False,
    "precision": "bf16",
}


@dataclass(frozen=True)
class Result:
    """A training, and what is predicted of it.

    Attributes:
        published: The training.
        time: Of a step.
        tokens: Tokens that a GPU is predicted to train on in a second.
        peak_gb: What is predicted to be held on a GPU by tensors, GB.
    """

    published: Published
    time: StepTime
    tokens: float
    peak_gb: float

    @property
    def ratio(self) -> float:
        """Predicted over published speed."""
        return self.tokens / self.published.tokens


def main() -> None:
    """Predict all of them, and write the page."""
    os.environ["DS_ACCELERATOR"] = "cpu"
    with tempfile.TemporaryDirectory(prefix="published-") as folder:
        results = [predict(one, Path(folder)) for one in published_trainings()]
    named = {one.published.source for one in results}
    sources = [f"- {name}: {where}" for name, where in SOURCES.items() if name in named]
    lines = [*scores(results), "", *tables(results), "", "Sources:", "", *sources]
    before = PAGE.read_text().partition(RESULTS)[0]
    PAGE.write_text("\n".join([before + RESULTS, *lines]) + "\n")
    print("\n".join(lines))


def predict(published: Published, folder: Path) -> Result:
    """Return what `configure` would say of a training."""
    from retune.models.shape_facts import find_shape_facts
    from retune.planning.hardware import resolve_hardware
    from retune.planning.speeds import speeds_of
    from retune.planning.step_time import predict_step
    from retune.settings import (
        ConfigureSettings,
        HardwareSettings,
        TrainedWeightsSettings,
    )
    from retune.steps.configure import plan_prepared, to_plan

    base = folder / published.model
    base.mkdir(exist_ok=True)
    (base / "config.json").write_text(json.dumps(MODELS[published.model]))
    hardware = resolve_hardware(
        HardwareSettings(accelerator="cuda", gpu_memory_gb=1000, **published.hardware)
    )
    batch = published.micro_batch * published.passes * hardware.world_size
    sizes = {"micro_batch_size": published.micro_batch, "global_batch_size": batch}
    settings = ConfigureSettings(**{**PLAIN, **published.strategy, **sizes})
    adapters: Any = {"r": 8, "lora_alpha": 16} if published.lora else None
    training, trace = to_plan(
        settings,
        TrainedWeightsSettings(lora=adapters),
        hardware,
        base,
        find_shape_facts(base),
        (published.length, 0),
    )
    planned = plan_prepared(training, trace, base, None)
    plan = planned.plan
    work = trace(plan).of(plan.micro_batch_size).work
    time = predict_step(plan, work, speeds_of(hardware, plan.precision), training.sizes)
    tokens = plan.tokens_per_step / plan.world_size / time.seconds
    peak = max(
        phase.total - phase.bytes_by_kind["context"] for phase in planned.memory.phases
    )
    return Result(published, time, tokens, peak / GB)


def tables(results: list[Result]) -> list[str]:
    """Return a table of all trainings, and one of the memory where it is known."""
    lines = [
        "| model | length | GPUs | strategy | source | published | predicted | ratio |",
        "| --- | ---: | --- | --- | --- | ---: | ---: | ---: |",
    ]
    for one in results:
        its = one.published
        number = its.hardware["ranks_per_node"] * its.hardware["nodes"]
        cells = [
            *(its.model, f"{its.length:,}", f"{number} {its.hardware['gpu_name']}"),
            *(strategy_of(its), its.source),
            *(f"{its.tokens:,.0f}", f"{one.tokens:,.0f}", f"{one.ratio:.2f}"),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        "| strategy | published GB | predicted GB |",
        "| --- | ---: | ---: |",
    ]
    for one in results:
        known = one.published.peak_gb
        if known is not None:
            cells = [strategy_of(one.published), f"{known:.1f}", f"{one.peak_gb:.1f}"]
            lines.append(f"| {' | '.join(cells)} |")
    return lines


def strategy_of(its: Published) -> str:
    """Return a strategy in words."""
    words = {
        "activation_checkpointing": {True: "checkpointing", "selective": "selective"},
        "torch_compile": {True: "compiled"},
        "offload_optimizer": {"cpu": "optimizer in main memory"},
        "offload_param": {"cpu": "weights in main memory"},
        "use_liger_kernel": {True: "Liger"},
    }
    found = [f"ZeRO-{its.strategy.get('zero_stage', PLAIN['zero_stage'])}"]
    found += ["LoRA"] if its.lora else []
    found += [
        words[key][value]
        for key, value in its.strategy.items()
        if value in words.get(key, {})
    ]
    return ", ".join([*found, f"{its.micro_batch} x {its.passes}"])


def scores(results: list[Result]) -> list[str]:
    """Return how well they agree, and whether the order is right."""
    off = sorted(max(one.ratio, 1 / one.ratio) for one in results)
    same = [one for one in results if one.published.peak_gb is not None]
    pairs = list(combinations(same, 2))
    right = sum((a.tokens > b.tokens) == (is_faster(a, b)) for a, b in pairs)
    return [
        f"Off by a factor of {median(off):.2f} in the median, {off[-1]:.2f} at worst."
        f" Of the {len(same)} trainings by DeepSpeed {right} of {len(pairs)} pairs are"
        " in the right order."
    ]


def is_faster(one: Result, other: Result) -> bool:
    """Return whether one training was measured to be faster than another."""
    return one.published.tokens > other.published.tokens


if __name__ == "__main__":
    main()
