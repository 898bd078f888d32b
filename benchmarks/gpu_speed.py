"""Measures trainings one by one, each in a process forked from one that imported all.

`gpu.py` starts it: `python benchmarks/gpu_speed.py speed --out DIR --seconds 300`.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

from forked import ForkedError, answer_with, run_forked
from gpu_cases import (
    DROPPED,
    Case,
    long_cases,
    settings_of,
    shape_of,
    speed_cases,
)
from gpu_results import add_record

PARTS = {"speed": speed_cases, "64 k tokens of context": long_cases}
# With less time left no training is begun.
LEAST_SECONDS = 20
# Limit of making a model and its tokens.
INPUTS_SECONDS = 90
# Files of all models together; in memory they are written and read fastest.
MODEL_BYTES = 40 * 10**9
IN_MEMORY = Path("/dev/shm")


def main() -> None:
    """Measure the trainings of a part until its time is up."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("part", nargs="?", choices=PARTS)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--toy", action="store_true")
    parser.add_argument("--task", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.task:
        answer_with(partial(do_task, **options.task), options.out)
    deadline = time.monotonic() + options.seconds
    import_everything()
    with tempfile.TemporaryDirectory(dir=scratch(), prefix="gpu-") as folder:
        for case in PARTS[options.part](options.toy):
            record = {"part": options.part, "model": case.shape, "training": case.name}
            left = deadline - time.monotonic()
            try:
                if left < LEAST_SECONDS:
                    raise ForkedError("no time left")
                figures = measure_forked(case, Path(folder), deadline, options.toy)
            except ForkedError as error:
                figures = {"error": str(error)}
            add_record(options.out, **record, **figures)


def scratch() -> Path | None:
    """Return where models are written; None: where temporary files usually are."""
    if IN_MEMORY.is_dir() and shutil.disk_usage(IN_MEMORY).free > MODEL_BYTES:
        return IN_MEMORY
    return None


def import_everything() -> None:
    """Import what trainings need, without a word to the GPU: forks would not see it."""
    from retune.imports import without_garbage_collection

    with without_garbage_collection():
        import deepspeed  # noqa: F401
        import peft  # noqa: F401
        import random_inputs  # noqa: F401
        from transformers import Trainer  # noqa: F401

        import retune.training.loop  # noqa: F401


def measure_forked(
    case: Case, folder: Path, deadline: float, toy: bool
) -> dict[str, Any]:
    """Return the figures of a training in a process of its own.

    Args:
        case: The training.
        folder: Where models are.
        deadline: When all must be done, seconds of time.monotonic.
        toy: Whether it is about the script, and not about figures.

    Raises:
        ForkedError: If it fails, or takes too long.
    """
    answer, inputs = folder / "answer.json", folder / case.shape
    task = {"case": vars(case), "folder": str(inputs), "toy": toy}
    if not inputs.exists():
        left = min(INPUTS_SECONDS, deadline - time.monotonic())
        making = {"do": "make_inputs", **task}
        run_forked(partial(in_clean_process, making, answer), answer, left)
    left = min(shape_of(case, toy).seconds, deadline - time.monotonic())
    measuring = {"do": "measure", "began": time.time(), **task}
    return run_forked(partial(in_clean_process, measuring, answer), answer, left)


def in_clean_process(task: dict[str, Any], answer: Path) -> dict[str, Any]:
    """Do a task; in a new process if a library used the GPU before the fork."""
    import torch

    if not task["toy"]:
        try:
            torch.zeros(1, device="cuda")
        except RuntimeError as error:
            print(f"a new process, because after the fork: {error}", file=sys.stderr)
            command = [sys.executable, __file__, "--task", json.dumps(task)]
            os.execv(sys.executable, [*command, "--out", str(answer)])
    return do_task(**task)


def do_task(do: str, **arguments: Any) -> dict[str, Any]:
    """Make inputs, or measure."""
    return {"make_inputs": make_inputs, "measure": measure}[do](**arguments)


def make_inputs(case: dict[str, Any], folder: str, toy: bool) -> dict[str, Any]:
    """Write model and tokens of a case."""
    from random_inputs import write_model, write_tokens

    shape, inputs = shape_of(Case(**case), toy), Path(folder)
    part = inputs.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    write_model(part / "base", shape.setup)
    blocks = shape.setup.batch["global_batch_size"] * shape.steps
    write_tokens(part / "tokens", shape.setup, blocks, shape.whole_blocks)
    part.rename(inputs)
    return {}


def measure(
    case: dict[str, Any], folder: str, began: float, toy: bool
) -> dict[str, Any]:
    """Be the one rank of a training; return its figures.

    Args:
        case: Attributes of the Case.
        folder: Folder of model and tokens.
        began: Time at which the process began, seconds of time.time.
        toy: Whether it is about the script, and not about figures.
    """
    import deepspeed
    import torch
    from engine import flops_per_token
    from engine_ways import WAYS, figures_of
    from random_inputs import write_plan

    from retune.launching.this_machine import LOOPBACK, free_port, rank_environment
    from retune.measuring.peak_flops import peak_flops
    from retune.settings import ConfigureSettings

    training, inputs = Case(**case), Path(folder)
    shape = shape_of(training, toy)
    os.environ |= {
        **rank_environment(shape.setup.accelerator, 1, LOOPBACK),
        **{"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"},
        "MASTER_PORT": str(free_port()),
    }
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    settings = ConfigureSettings(**settings_of(training, toy))
    with tempfile.TemporaryDirectory(dir=inputs.parent) as work:
        write_plan(inputs, shape.setup, settings, inputs / "plan")
        options = training.options | ({"lora": shape.lora} if shape.lora else {})
        way = WAYS[training.way]
        run = way(inputs, Path(work), shape.steps, **options)
    figures: dict[str, Any] = figures_of([run], DROPPED)
    figures["start_seconds"] = (
        time.time() - began - (time.perf_counter() - run.starts[0])
    )
    flops = flops_per_token(inputs, shape.setup, shape.lora)
    figures["FLOPs/token"] = flops
    if torch.cuda.is_available():
        figures["device"] = torch.cuda.get_device_name()
        peak = peak_flops(figures["device"], "bf16")
        if peak and flops:
            figures["MFU %"] = 100 * flops * figures["tokens/s"] / peak
    return figures


if __name__ == "__main__":
    main()
