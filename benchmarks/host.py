"""Measures what the host does in a training: what a fast GPU would wait for.

A GPU computes beside the host, which starts its operations one by one; with a small
model it has done with one before the next is there. Here models have as many layers as
GPT-2 and as Llama 3.2 1B have, and as many operations, but are so narrow, and
micro-batches so short, that computing takes next to nothing. What is left is Python,
PyTorch's dispatch, and DeepSpeed's hooks, of our loop and of Hugging Face's Trainer,
with the same DeepSpeed config: ZeRO-1 in bf16 on one rank, clipped gradients.

    python benchmarks/host.py [--models gpt2 llama] [--rounds 3] [--steps 40]

Each training is a process of its own on one thread, and its fastest step counts,
because other processes only make steps longer. The time of a micro-batch is how much
longer a step of 5 micro-batches takes than a step of one, over 4; what is left of a
step of one is the step's own: optimizer, clipping, and the loop around it. They are
told in seconds of the processor, too. Prints Markdown; no network.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from engine import spread
from gpu_cases import COMMON, llama
from machine import describe_machine
from training_inputs import NO_DROPOUT, Setup

# The first steps allocate.
DROPPED = 6
WORDS, LENGTH = {"vocab_size": 512}, 16
NARROW = {
    "gpt2": {"n_positions": LENGTH, "n_embd": 32, "n_layer": 12, "n_head": 2},
    "llama": {
        **llama(32, 64, 16, 4, 1),
        **{"max_position_embeddings": LENGTH, "tie_word_embeddings": True},
    },
}
# Chunks of the loss: as many as of 16 x 1,024 tokens on a GPU.
CHUNKS = 8
# Micro-batches of a step.
FEW, MANY = 1, 5
WAYS = ("retune", "Trainer")


def setup_of(model: str, passes: int) -> Setup:
    """Return a narrow model, and how it is trained.

    Args:
        model: A key of `NARROW`.
        passes: Micro-batches of a step, of one sequence each.
    """
    no_dropout = NO_DROPOUT if model == "gpt2" else {}
    batch = {"global_batch_size": passes, "micro_batch_size": 1, "precision": "bf16"}
    return Setup(
        model, NARROW[model] | WORDS | no_dropout, LENGTH, batch, accelerator="cpu"
    )


def prepare(folder: Path, setup: Setup) -> None:
    """Write the model, tokens and plan."""
    from random_inputs import write_model, write_plan, write_tokens

    from retune.settings import ConfigureSettings

    write_model(folder / "base", setup)
    write_tokens(folder / "tokens", setup, blocks=1000, whole_blocks=False)
    settings = ConfigureSettings(**COMMON, **setup.batch)
    write_plan(folder, setup, settings, folder / "plan")


def be_rank(way: str, folder: Path, steps: int, counts: bool) -> None:
    """Train; print milliseconds of each step, or what PyTorch was asked to do in one.

    Args:
        way: One of `WAYS`.
        folder: Folder of model, tokens and plan.
        steps: Optimizer steps; the last is not taken by our loop.
        counts: Whether operations are counted.
    """
    import engine_ways
    import torch

    from retune.launching.this_machine import LOOPBACK, free_port, rank_environment

    torch.set_num_threads(1)
    os.environ |= {
        **rank_environment("cpu", 1, LOOPBACK),
        **{"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"},
        "MASTER_PORT": str(free_port()),
    }
    # On a CPU DeepSpeed would compile its shared-memory collectives first.
    import deepspeed

    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    like_a_gpu()
    train: dict[str, Callable[..., engine_ways.Run]] = {
        "retune": engine_ways.run_retune,
        "Trainer": engine_ways.run_trainer,
    }
    with tempfile.TemporaryDirectory(dir=folder) as work:
        if counts:
            figures = operations_of_step(lambda: train[way](folder, Path(work), steps))
        else:
            run = train[way](folder, Path(work), steps)
            figures = {"wall": apart(run.starts), "cpu": apart(run.cpu)}
    print("\n" + json.dumps(figures))


def like_a_gpu() -> None:
    """Have this process ask for the operations that a GPU is asked for.

    The kernels of attention and of the loss do nothing here, but are called as there:
    through PyTorch's `varlen_attn`, and chunk by chunk. What starting DeepSpeed's
    Triton kernels takes is missing.
    """
    import torch
    from torch.nn.attention import varlen

    from retune.engines import chunked_loss
    from retune.models import varlen_attention

    class NoLoss(torch.autograd.Function):
        """A loss of each token, made as a kernel makes it."""

        @staticmethod
        def forward(ctx: Any, logits: torch.Tensor) -> torch.Tensor:
            ctx.save_for_backward(logits)
            return torch.ones(len(logits))

        @staticmethod
        def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
            return torch.zeros_like(ctx.saved_tensors[0])

    def attend(query: torch.Tensor, *others: Any) -> tuple[torch.Tensor, ...]:
        sums = torch.zeros(query.shape[1], len(query))
        return query.clone(), sums, torch.zeros(2, dtype=torch.uint64)

    def attend_backward(*arguments: Any) -> tuple[torch.Tensor, ...]:
        return tuple(torch.zeros_like(tensor) for tensor in arguments[1:4])

    varlen._varlen_attn.register_kernel("cpu", attend)
    varlen._varlen_attn_backward.register_kernel("cpu", attend_backward)
    varlen_attention.can_flash = varlen_attention.fits_flash
    chunked_loss.cross_entropy_sum = lambda logits, _: NoLoss.apply(logits).sum()
    chunked_loss.CHUNK_TOKENS["cpu"] = LENGTH // CHUNKS
    chunked_loss.WORDS_MULTIPLE["cpu"] = chunked_loss.WORDS_MULTIPLE["cuda"]


def apart(moments: list[float]) -> list[float]:
    """Return the milliseconds between moments, without the first steps."""
    kept = moments[DROPPED:]
    return [1000 * (end - start) for start, end in zip(kept, kept[1:], strict=False)]


def operations_of_step(train: Callable[[], Any]) -> dict[str, Any]:
    """Return how many operations PyTorch was asked for in the last step, and which.

    Args:
        train: Trains, with a `Run` that notes the beginning of each step.
    """
    import engine_ways
    from torch.utils._python_dispatch import TorchDispatchMode

    from retune.compat.pytorch_operations import OperationCounter

    class Counted(TorchDispatchMode):
        """Counts operations by their names, and those that are no mere views."""

        def __init__(self) -> None:
            super().__init__()
            self.names: Counter[str] = Counter()
            self.work = OperationCounter()

        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            result = func(*args, **(kwargs or {}))
            self.names[str(func)] += 1
            self.work.count(func, args, result)
            return result

    marks: list[tuple[Counter[str], int]] = []
    begin_step = engine_ways.Run.begin_step
    with Counted() as counted:

        def mark(run: engine_ways.Run) -> None:
            marks.append((counted.names.copy(), counted.work.operations))
            begin_step(run)

        engine_ways.Run.begin_step = mark
        train()
    (before, worked_before), (after, worked_after) = marks[-2:]
    return {"names": after - before, "work": worked_after - worked_before}


def measure(way: str, folder: Path, steps: int, counts: bool = False) -> dict[str, Any]:
    """Train once in a new process; return what `be_rank` prints there."""
    command = [sys.executable, __file__, "--rank-of", way, "--steps", str(steps)]
    command += ["--folder", str(folder), *(["--counts"] * counts)]
    threads = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    done = subprocess.run(
        command,
        env=os.environ | threads,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


def figures_of(folders: dict[int, Path], way: str, steps: int) -> dict[str, float]:
    """Return milliseconds of a micro-batch and of the rest of a step.

    Args:
        folders: Micro-batches of a step -> folder of model, tokens and plan.
        way: One of `WAYS`.
        steps: Optimizer steps of each training.
    """
    few, many = (measure(way, folders[passes], steps) for passes in (FEW, MANY))
    figures = {}
    for clock, shown in (("wall", ""), ("cpu", " (CPU)")):
        shortest, longest = min(few[clock]), min(many[clock])
        each = (longest - shortest) / (MANY - FEW)
        figures[f"ms/micro-batch{shown}"] = each
        figures[f"ms/step{shown}"] = shortest - FEW * each
    return figures


def counts_of(folders: dict[int, Path], way: str) -> dict[str, Any]:
    """Return how many operations a micro-batch has, and the rest of a step.

    The arguments are those of `figures_of`. Of those of a micro-batch, `names` says
    how often each is asked for.
    """
    few, many = (
        measure(way, folders[passes], DROPPED, counts=True) for passes in (FEW, MANY)
    )
    names = Counter(many["names"])
    names.subtract(few["names"])
    each = {name: count / (MANY - FEW) for name, count in names.items() if count}
    work = (many["work"] - few["work"]) / (MANY - FEW)
    return {
        "dispatched": sum(each.values()),
        "work": work,
        "dispatched of step": sum(few["names"].values()) - FEW * sum(each.values()),
        "work of step": few["work"] - FEW * work,
        "names": each,
    }


def main() -> None:
    """Measure both ways in turn, as often as asked, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--models", nargs="+", choices=NARROW, default=list(NARROW))
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--rounds", type=int, default=3, help="rounds of all ways")
    parser.add_argument("--steps", type=int, default=40, help="optimizer steps of each")
    parser.add_argument("--names", type=int, default=0, help="operations to list")
    for name, kind in (("rank-of", str), ("folder", Path)):
        parser.add_argument(f"--{name}", type=kind, help=argparse.SUPPRESS)
    parser.add_argument("--counts", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.rank_of:
        be_rank(options.rank_of, options.folder, options.steps, options.counts)
        return
    print(describe_machine("torch", "deepspeed", "transformers"))
    with tempfile.TemporaryDirectory(prefix="host-") as scratch:
        for model in options.models:
            folders = {n: Path(scratch) / f"{model}-{n}" for n in (FEW, MANY)}
            for passes, folder in folders.items():
                folder.mkdir()
                prepare(folder, setup_of(model, passes))
            rows: dict[str, list[dict[str, float]]] = {way: [] for way in options.ways}
            for number in range(options.rounds):
                for way, figures in rows.items():
                    print(f"{model}, round {number + 1}: {way}", file=sys.stderr)
                    figures.append(figures_of(folders, way, options.steps))
            counts = {way: counts_of(folders, way) for way in options.ways}
            print(f"\n`{model}`, {options.rounds} rounds of {options.steps} steps:\n")
            print("\n".join(table(rows, counts)))
            for way in options.ways if options.names else ():
                names = Counter(counts[way]["names"]).most_common(options.names)
                print(f"\n{way}: " + ", ".join(f"{n:.0f} {name}" for name, n in names))


def table(
    rows: dict[str, list[dict[str, float]]], counts: dict[str, dict[str, Any]]
) -> list[str]:
    """Return the lines of a Markdown table: median (min-max) of each column.

    Args:
        rows: Figures of each round, by way.
        counts: Numbers of operations, by way.
    """
    timed = list(next(iter(rows.values()))[0])
    columns = [*timed, "dispatched", "operations", "µs/dispatched", "µs/operation"]
    columns += ["dispatched/step", "operations/step"]
    lines = [f"| | {' | '.join(columns)} |", "| --- |" + " ---: |" * len(columns)]
    for way, figures in rows.items():
        cells = [spread([figure[column] for figure in figures]) for column in timed]
        count = counts[way]
        each = median(figure["ms/micro-batch (CPU)"] for figure in figures)
        cells += [f"{count[kind]:,.0f}" for kind in ("dispatched", "work")]
        cells += [f"{1000 * each / count[kind]:.1f}" for kind in ("dispatched", "work")]
        cells += [f"{count[f'{kind} of step']:,.0f}" for kind in ("dispatched", "work")]
        lines.append(f"| {way} | {' | '.join(cells)} |")
    return lines


if __name__ == "__main__":
    main()
