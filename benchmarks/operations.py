"""Lists what a micro-batch computes and moves on a GPU, part by part; needs no GPU.

    python benchmarks/operations.py [--names 4]

The models are those that `gpu.py` measures first, their operations those that the
planner's trace counts (`retune.engines.activation_trace`). Prints Markdown.
"""

import argparse
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gpu_cases import COMMON, SHAPES
from transformers import AutoConfig

from retune.compat import pytorch_live_storages
from retune.compat.pytorch_operations import OperationCounter
from retune.engines.activation_trace import trace_activations
from retune.engines.traced_step import TracedStep
from retune.models.shape_facts import find_shape_facts
from retune.models.training_skeleton import build_training_skeleton
from retune.planning.hardware import resolve_hardware
from retune.planning.strategy import make_plan
from retune.planning.work import Work
from retune.settings import ConfigureSettings, HardwareSettings

# Shape, and whether Liger's kernels are used.
MODELS = {"gpt2": "GPT2LMHeadModel", "llama": "LlamaForCausalLM"}
CASES = [("gpt2-124m", False), ("llama-1b", False), ("llama-1b", True)]
# Parts of a trace of which the table has rows, as `TracedStep` numbers them: of the
# three layers that are followed the second stands for all.
PARTS = {
    "embedding": [0],
    "a layer": [2],
    "norm, head and loss": [4],
    "head and norm, backward": [5, 6],
    "a layer, backward": [8],
    "embedding, backward": [10],
}
GIGA, TERA = 1e9, 1e12


@dataclass
class Part:
    """What the operations of a part of a pass do.

    Attributes:
        work: All of it.
        names: Bytes moved, by the name of the operation.
    """

    work: Work = field(default_factory=Work)
    names: Counter[str] = field(default_factory=Counter)


class ListingCounter(OperationCounter):
    """Counts operations by part and name, too.

    Attributes:
        part: What goes on; whatever is not asked for between two parts.
    """

    part = Part()

    def count(self, func: Any, arguments: tuple[Any, ...], result: Any) -> None:
        """Count a call of an operator."""
        before = Work(self.products, self.moved, self.operations)
        super().count(func, arguments, result)
        done = Work(self.products, self.moved, self.operations).plus(before, -1)
        part = ListingCounter.part
        part.work = part.work.plus(done)
        part.names[str(func).split(".")[1]] += int(done.moved)


def listed_parts(shape: str, liger: bool) -> tuple[Work, list[Part]]:
    """Return the work of a micro-batch of a shape, and that of its parts.

    Args:
        shape: A key of `gpu_cases.SHAPES`.
        liger: Whether Liger's kernels are used.
    """
    setup = SHAPES[shape].setup
    parts: list[Part] = []
    pytorch_live_storages.OperationCounter = ListingCounter
    begin, end = TracedStep._begin, TracedStep._end

    def begin_part(step: TracedStep) -> None:
        ListingCounter.part = Part()
        parts.append(ListingCounter.part)
        begin(step)

    def end_part(step: TracedStep) -> None:
        ListingCounter.part = Part()
        end(step)

    TracedStep._begin, TracedStep._end = begin_part, end_part
    try:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            config = AutoConfig.for_model(setup.model_type, **setup.config)
            config.architectures = [MODELS[setup.model_type]]
            config.save_pretrained(folder)
            facts = find_shape_facts(folder)
            skeleton = build_training_skeleton(folder, facts, None)
            kernels = {"attn_implementation": "varlen", "chunked_cross_entropy": True}
            settings = ConfigureSettings(
                **COMMON | setup.batch | kernels, use_liger_kernel=False
            )
            hardware = resolve_hardware(
                HardwareSettings(accelerator="cuda", ranks_per_node=1)
            )
            plan, _ = make_plan(
                settings, hardware, facts, setup.sequence_length, train_blocks=10**6
            )
            plan = plan.model_copy(update={"use_liger_kernel": liger})
            size = plan.micro_batch_size
            work = trace_activations(skeleton, plan, [size]).of(size).work
    finally:
        TracedStep._begin, TracedStep._end = begin, end
        pytorch_live_storages.OperationCounter = OperationCounter
    return work, parts


def rows(work: Work, parts: list[Part], most: int) -> Iterator[str]:
    """Yield the lines of a Markdown table.

    Args:
        work: Of the whole micro-batch.
        parts: As they were listed.
        most: Names of operations that a row has.
    """
    yield "| | operations | TFLOP | GB | most bytes |"
    yield "| --- | ---: | ---: | ---: | --- |"
    for name, numbers in PARTS.items():
        total, names = Work(), Counter[str]()
        for number in numbers:
            total = total.plus(parts[number].work)
            names += parts[number].names
        largest = ", ".join(
            f"{operation} {moved / GIGA:.2f}"
            for operation, moved in names.most_common(most)
        )
        yield row(name, total, largest)
    yield row("**whole model, both passes**", work, "")


def row(name: str, work: Work, largest: str) -> str:
    """Return a line of the table."""
    figures = f"{work.products / TERA:.2f} | {work.moved / GIGA:.2f}"
    return f"| {name} | {work.operations:,.0f} | {figures} | {largest} |"


def main() -> None:
    """Print a table for each case."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--names", type=int, default=4, help="operations of a row")
    options = parser.parse_args()
    for shape, liger in CASES:
        setup = SHAPES[shape].setup
        size = f"{setup.batch['micro_batch_size']} x {setup.sequence_length:,}"
        print(f"\n`{shape}`, {size} tokens{', Liger' if liger else ''}:\n")
        print("\n".join(rows(*listed_parts(shape, liger), options.names)))


if __name__ == "__main__":
    main()
