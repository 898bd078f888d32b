"""Compares the memory that is predicted of trainings with what real CPU ranks hold.

    python benchmarks/planner.py --out DIR

writes DIR/predictions.jsonl, then trains each configuration on as many ranks as it has,
which count the bytes of their tensors (`tests/memory_ranks.py`), writes
DIR/measured.jsonl, and sets the results of planner.md anew. The configurations are
drawn, with a fixed seed, from all that go together of {GPT-2, Llama, Qwen2} x ZeRO x
activation checkpointing x micro-batch x length x loss x precision x micro-batches of a
step. Offloading is left to `gpu_planner.py`: ranks on CPUs compute in the main memory
that they would offload to.
"""

import argparse
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

from machine import describe_machine

from retune.artifacts.memory_prediction import MemoryPrediction, PhaseMemory

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "benchmarks/planner.md"
RESULTS = "## Results\n"
SEED = 0
# Family of tests/model_families.py -> its config.
WIDE = {"vocab_size": 2000, "hidden_size": 128, "intermediate_size": 256}
WIDE |= {"num_hidden_layers": 6, "max_position_embeddings": 256}
FAMILIES = {
    "gpt2": {"vocab_size": 2000, "n_embd": 128, "n_layer": 6, "n_positions": 256},
    "llama, tied": WIDE,
    "qwen2": WIDE,
}
VALUES: dict[str, list[Any]] = {
    "zero_stage": [0, 1, 2, 3],
    "precision": ["fp32", "bf16"],
    "activation_checkpointing": [False, "selective", True],
    "micro_batch_size": [1, 2, 4],
    "sequence_length": [64, 256],
    "chunked_cross_entropy": [True, False],
    "gradient_accumulation_steps": [1, 2],
}
# Ranks -> trainings of each family.
NUMBERS = {1: 16, 2: 8, 4: 4}
# What ranks hold at rest beside what is predicted, bytes: buffers of the model and the
# like. Below it states and buffers are exact.
LITTLE = 8192


@dataclass(frozen=True)
class Case:
    """One configuration.

    Attributes:
        family: Of FAMILIES.
        ranks: Number of ranks.
        plan: Values of the plan.
    """

    family: str
    ranks: int
    plan: dict[str, Any]


def main() -> None:
    """Predict, measure, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of the figures")
    parser.add_argument("--share", type=float, default=1, help="of the configurations")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    # Neither needs an accelerator; the tests have what counts.
    os.environ["DS_ACCELERATOR"] = "cpu"
    sys.path.insert(0, str(ROOT / "tests"))
    cases = list(drawn(options.share))
    with tempfile.TemporaryDirectory(prefix="planner-") as folder:
        bases = {family: make_base(Path(folder), family) for family in FAMILIES}
        start = time.monotonic()
        predicted = [predict(bases[case.family], case) for case in cases]
        took = (time.monotonic() - start) / len(cases)
        phases = [[asdict(phase) for phase in one.phases] for one in predicted]
        write_lines(options.out / "predictions.jsonl", cases, phases)
        measured = measure_all(bases, cases)
        write_lines(options.out / "measured.jsonl", cases, measured)
    lines = [describe_machine("torch", "deepspeed", "transformers"), ""]
    results = [Result(*each) for each in zip(cases, predicted, measured, strict=True)]
    lines += [*scores(results, took), "", *table(results)]
    before = PAGE.read_text().partition(RESULTS)[0]
    PAGE.write_text("\n".join([before + RESULTS, *lines]) + "\n")
    print("\n".join(lines))


def drawn(share: float) -> Iterator[Case]:
    """Yield the configurations, those of a family and a number of ranks together.

    Args:
        share: Share of them that is wanted.
    """
    draw = random.Random(SEED)
    possible = [
        plan
        for values in product(*VALUES.values())
        if is_possible(plan := dict(zip(VALUES, values, strict=True)))
    ]
    for (family, ranks), number in (
        ((family, ranks), NUMBERS[ranks]) for family in FAMILIES for ranks in NUMBERS
    ):
        for plan in draw.sample(possible, max(1, round(share * number))):
            yield Case(family, ranks, plan)


def is_possible(plan: dict[str, Any]) -> bool:
    """Return whether retune trains so: stage 0 is for fp32."""
    return plan["zero_stage"] > 0 or plan["precision"] == "fp32"


def make_base(folder: Path, family: str) -> Path:
    """Return the folder of a model of random weights, with its facts."""
    from model_families import build_family
    from retune.models.find_model_facts import find_model_facts

    base = build_family(family, folder / family, **FAMILIES[family])
    find_model_facts(base).write(base)
    return base


def of_plan(case: Case) -> dict[str, Any]:
    """Return all that differs from the plan of the tests."""
    plan = case.plan
    passes = plan["gradient_accumulation_steps"]
    return {
        **plan,
        "attn_implementation": "varlen",
        "ranks_per_node": case.ranks,
        "global_batch_size": case.ranks * plan["micro_batch_size"] * passes,
    }


def predict(base: Path, case: Case) -> MemoryPrediction:
    """Return what a rank will hold."""
    from plans import make_plan
    from retune.artifacts.model_facts import ModelFacts
    from retune.engines.activation_trace import trace_activations
    from retune.models.training_skeleton import build_training_skeleton
    from retune.planning.memory_prediction import predict_memory

    facts = ModelFacts.read(base)
    skeleton = build_training_skeleton(base, facts, None)
    plan = make_plan(num_parameters=facts.num_parameters, **of_plan(case))
    passes = trace_activations(skeleton, plan, [plan.micro_batch_size])
    return predict_memory(plan, passes, skeleton.sizes)


def measure_all(bases: dict[str, Path], cases: list[Case]) -> list[dict[str, int]]:
    """Return the most bytes that a rank held in each phase, of each configuration."""
    import memory_ranks

    measured: list[dict[str, int]] = []
    for family, ranks in dict.fromkeys((case.family, case.ranks) for case in cases):
        plans = [
            of_plan(case)
            for case in cases
            if (case.family, case.ranks) == (family, ranks)
        ]
        start = time.monotonic()
        measured += memory_ranks.measure_all(bases[family], plans, ranks)
        took = time.monotonic() - start
        print(f"{family}, {ranks} ranks: {len(plans)}, {took:.0f} s", file=sys.stderr)
    return measured


def write_lines(file: Path, cases: list[Case], figures: list[Any]) -> None:
    """Write a line of JSON for each configuration, with its figures."""
    lines = (
        json.dumps({**asdict(case), "figures": of_case})
        for case, of_case in zip(cases, figures, strict=True)
    )
    file.write_text("".join(f"{line}\n" for line in lines))


@dataclass(frozen=True)
class Result:
    """A configuration with what was predicted and measured.

    Attributes:
        case: The configuration.
        memory: What was predicted.
        held: The most bytes that a rank held in each phase that was measured.
    """

    case: Case
    memory: MemoryPrediction
    held: dict[str, int]

    @property
    def predicted(self) -> dict[str, PhaseMemory]:
        """The prediction of each phase that was measured."""
        return {p.name: p for p in self.memory.phases if p.name in self.held}

    @property
    def peak(self) -> PhaseMemory:
        """The predicted phase with most."""
        return max(self.predicted.values(), key=lambda phase: phase.total)

    @property
    def error(self) -> float:
        """How much more is predicted at most than was held, %."""
        return 100 * (self.peak.total / max(self.held.values()) - 1)

    @property
    def error_beside_buckets(self) -> float:
        """The same without the buckets, whose size no model changes, %."""
        buckets = self.peak.bytes_by_kind["buffers"]
        most = max(self.held.values()) - buckets
        return 100 * ((self.peak.total - buckets) / most - 1)

    def error_in(self, phase: str) -> float:
        """How much more is predicted in a phase than was held, %."""
        return 100 * (self.predicted[phase].total / self.held[phase] - 1)

    @property
    def rests_exactly(self) -> bool:
        """Whether what is held between steps is as predicted."""
        return abs(self.predicted["save"].total - self.held["save"]) <= LITTLE


def scores(results: list[Result], seconds: float) -> Iterator[str]:
    """Yield how good the predictions are.

    Args:
        results: The configurations.
        seconds: Time of one prediction.
    """
    yield f"{len(results)} configurations, each predicted in {seconds:.2f} s."
    yield ""
    yield "| | median error % | least | most | within 1 % | within 5 % |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: |"
    yield row("peak", [one.error for one in results])
    beside = [one.error_beside_buckets for one in results]
    yield row("peak, beside buckets", beside)
    for phase in dict.fromkeys(phase for one in results for phase in one.held):
        errors = [one.error_in(phase) for one in results if phase in one.held]
        yield row(phase, errors)
    yield ""
    yield "What is held between two steps: weights, optimizer states and buckets."
    yield ""
    yield "| ZeRO | ranks | configurations | exact | worst error % |"
    yield "| --- | ---: | ---: | ---: | ---: |"
    groups: dict[tuple[int, int], list[Result]] = {}
    for one in results:
        key = one.case.plan["zero_stage"], one.case.ranks
        groups.setdefault(key, []).append(one)
    for (stage, ranks), of_group in sorted(groups.items()):
        exact = sum(one.rests_exactly for one in of_group)
        worst = max((one.error_in("save") for one in of_group), key=abs)
        yield f"| {stage} | {ranks} | {len(of_group)} | {exact} | {worst:+.2f} |"


def row(name: str, errors: list[float]) -> str:
    """Return the line of a table on errors, %."""
    size = [abs(error) for error in errors]
    within = " | ".join(str(sum(one <= most for one in size)) for most in (1, 5))
    return (
        f"| {name} | {median(size):.3f} | {min(errors):+.2f} | {max(errors):+.2f} |"
        f" {within} |"
    )


def table(results: list[Result]) -> Iterator[str]:
    """Yield the lines of the table of all configurations."""
    names = ["ZeRO", "precision", "checkpointing", "micro-batch", "length"]
    names += ["chunked loss", "passes", "predicted MB", "measured MB", "error %"]
    names += ["beside buckets"]
    yield f"| model | ranks | {' | '.join(names)} |"
    yield "| --- |" + " ---: |" * (len(names) + 1)
    for one in results:
        case, most = one.case, max(one.held.values())
        shown = " | ".join(str(value).lower() for value in case.plan.values())
        yield (
            f"| {case.family} | {case.ranks} | {shown} | {one.peak.total / 1e6:.3f} |"
            f" {most / 1e6:.3f} | {one.error:+.2f} | {one.error_beside_buckets:+.2f} |"
        )


if __name__ == "__main__":
    main()
