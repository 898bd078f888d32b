"""Measures how fast our loop trains, beside two usual ways to do the same.

On the same model, text and DeepSpeed config:

- retune: our loop, `retune.training.loop`;
- Trainer: Hugging Face's, on blocks of packed lines, without their boundaries;
- tutorial: a plain DeepSpeed loop, every line padded to 128 tokens, one line per rank
  and pass, gradients of 4 passes accumulated.

    python benchmarks/engine.py [--model cpu] [--rounds 3] [--steps 24]

`cpu` is a small GPT-2 on two CPU ranks; `gpt2` (124 M parameters) and `llama-1b` run in
bf16 on one GPU and tell the model FLOPs utilisation, too. Prints Markdown. The text is
the documentation that ships with Python, a document per line; no network.
"""

import argparse
import json
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from engine_ways import WAYS, Run, be_rank, figures_of
from machine import describe_machine
from training_inputs import SETUPS, Setup, prepare

# The first steps allocate, and on a GPU choose kernels.
DROPPED = 4


def measure(way: str, folder: Path, setup: Setup, steps: int) -> dict[str, float]:
    """Train once, in new processes; return the figures of all ranks together."""
    from retune.launching.this_machine import started

    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        work = Path(scratch)
        command = [sys.executable, __file__, "--rank-of", way, "--steps", str(steps)]
        command += ["--folder", str(folder), "--work", scratch]
        with started(command, setup.accelerator, setup.ranks) as ranks:
            codes = [process.wait() for process in ranks.values()]
        if any(codes):
            raise RuntimeError(f"{way}: a rank failed, see above")
        runs = [
            Run(**json.loads((work / f"run-{rank}.json").read_text()))
            for rank in range(setup.ranks)
        ]
    return figures_of(runs, DROPPED)


def peak_of_device() -> tuple[str, float | None]:
    """Return the GPU's name and its FLOP/s in bf16."""
    import torch

    from retune.measuring.peak_flops import peak_flops

    name = torch.cuda.get_device_name()
    return name, peak_flops(name, "bf16")


def flops_per_token(
    folder: Path, setup: Setup, lora: dict[str, Any] | None = None
) -> float | None:
    """Return the model's FLOPs per token of a packed block.

    Args:
        folder: Folder of `base`.
        setup: What is trained.
        lora: The section `finetune.lora`; None: all weights are trained.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from retune.artifacts.model_facts import ModelFacts
    from retune.measuring.model_flops import model_flops_per_token, multiplying_weights
    from retune.settings import LoraSettings

    config = AutoConfig.from_pretrained(folder / "base")
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    if lora:
        from retune.models.adapters import add_adapters

        facts = ModelFacts.read(folder / "base")
        model = add_adapters(model, facts, LoraSettings(**lora))
    weights = multiplying_weights(model)
    return model_flops_per_token(config, *weights, setup.sequence_length)


def table(rows: dict[str, list[dict[str, float]]]) -> Iterator[str]:
    """Yield the lines of a Markdown table: median (min-max) of each column."""
    columns = list(max((runs[0] for runs in rows.values()), key=len))
    yield f"| | {' | '.join(columns)} |"
    yield "| --- |" + " ---: |" * len(columns)
    for way, figures in rows.items():
        cells = (
            spread([figure[column] for figure in figures if column in figure])
            for column in columns
        )
        yield f"| {way} | {' | '.join(cells)} |"


def spread(values: list[float]) -> str:
    """Return "median (min-max)", nothing of nothing."""
    if not values:
        return ""
    low, middle, high = (
        f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
        for value in (min(values), median(values), max(values))
    )
    return f"{middle} ({low}-{high})"


def main() -> None:
    """Measure all ways in turn, as often as asked, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", choices=SETUPS, default="cpu")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of all ways")
    parser.add_argument("--steps", type=int, default=24, help="optimizer steps of each")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    for name, kind in (("rank-of", str), ("folder", Path), ("work", Path)):
        parser.add_argument(f"--{name}", type=kind, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.steps < DROPPED + 2:
        parser.error(f"--steps: {options.steps}, at least {DROPPED + 2}")
    if options.rank_of:
        be_rank(options.rank_of, options.folder, options.work, options.steps)
        return
    # Ended from outside, it ends the ranks as after Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    setup = SETUPS[options.model]
    rows: dict[str, list[dict[str, float]]] = {way: [] for way in options.ways}
    with tempfile.TemporaryDirectory(prefix="engine-") as scratch:
        folder = Path(scratch)
        prepare(folder, setup)
        for number in range(options.rounds):
            for way, figures in rows.items():
                print(f"round {number + 1}: {way}", file=sys.stderr)
                figures.append(measure(way, folder, setup, options.steps))
        flops = flops_per_token(folder, setup)
    print(describe_machine("torch", "deepspeed", "transformers"))
    if setup.accelerator == "cuda":
        device, peak = peak_of_device()
        print(f"{device}, bf16")
        # The tutorial's tokens are mostly padding, whose FLOPs are of no use.
        for way in rows.keys() - {"tutorial"} if flops and peak else ():
            for figure in rows[way]:
                figure["MFU %"] = 100 * flops * figure["tokens/s"] / peak
    print(f"\n`{options.model}`, {options.rounds} rounds of {options.steps} steps:\n")
    print("\n".join(table(rows)))


if __name__ == "__main__":
    main()
