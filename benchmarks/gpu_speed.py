"""Measures trainings one by one, each in a process of its own that is ready before.

`gpu.py` starts it: `python benchmarks/gpu_speed.py speed --out DIR --inputs FOLDER`.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import Any

from gpu_cases import DROPPED, Case, cases_of, settings_of, shape_of
from gpu_inputs import InputsError, name_of_inputs, wait_for
from gpu_part import part_parser
from gpu_profile import kernel_table
from gpu_results import add_profile, add_record
from standby import Standby, TaskError, standbys, wait_for_task

# With less time left no training is begun.
LEAST_SECONDS = 15
# Limit of waiting for a model and its tokens.
INPUTS_SECONDS = 120


def main() -> None:
    """Measure the trainings of a part until its time is up."""
    parser = part_parser(__doc__.partition("\n")[0])
    parser.add_argument("part", nargs="?")
    options = parser.parse_args()
    if options.stand_by:
        get_ready(options.toy)
        wait_for_task(measure, options.stand_by)
        return
    deadline = time.monotonic() + options.seconds
    with tempfile.TemporaryDirectory(dir=options.inputs) as folder:
        command = [sys.executable, __file__, *(["--toy"] * options.toy), "--stand-by"]
        processes = standbys(command, Path(folder))
        with closing(processes):
            # It imports while the inputs are waited for.
            first = next(processes)
            try:
                measure_all(options, deadline, chain([first], processes))
            finally:
                first.end()


def measure_all(
    options: argparse.Namespace, deadline: float, processes: Iterator[Standby]
) -> None:
    """Measure the trainings of the part, and write the figures of each.

    The arguments are those of `figures_or_error`.
    """
    for case in cases_of(options.part, options.toy, options.only):
        figures = figures_or_error(case, options, deadline, processes)
        profile = figures.pop("profile", None)
        record = {"model": case.shape, "training": case.name, **figures}
        add_record(options.out, part=options.part, **record)
        if profile:
            add_profile(options.out, f"{case.shape}: {case.name}", profile)


def get_ready(toy: bool) -> None:
    """Import what trainings need, and let the GPU make its context."""
    from retune.imports import without_garbage_collection

    with without_garbage_collection():
        import deepspeed
        import peft  # noqa: F401
        import random_inputs  # noqa: F401
        import torch
        from transformers import Trainer  # noqa: F401

        import retune.training.loop  # noqa: F401
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    if not toy:
        torch.zeros(1, device="cuda")


def figures_or_error(
    case: Case,
    options: argparse.Namespace,
    deadline: float,
    processes: Iterator[Standby],
) -> dict[str, Any]:
    """Return the figures of a training, or why there are none.

    Args:
        case: The training.
        options: Of the command.
        deadline: When all must be done, seconds of time.monotonic.
        processes: Processes that are ready.
    """
    if deadline - time.monotonic() < LEAST_SECONDS:
        return {"error": "no time left"}
    inputs = options.inputs / name_of_inputs(case.shape)
    try:
        wait_for(inputs, min(INPUTS_SECONDS, deadline - time.monotonic()))
        task = {"case": vars(case), "folder": str(inputs), "toy": options.toy}
        left = deadline - time.monotonic()
        limit = min(shape_of(case, options.toy).seconds, left)
        return next(processes).do(task, limit)
    except (InputsError, TaskError) as error:
        return {"error": str(error)}


def measure(task: dict[str, Any]) -> dict[str, Any]:
    """Be the one rank of a training; return its figures.

    Args:
        task: The attributes of the Case, the folder of model and tokens, whether it is
            about the script and not about figures, and when the process was told,
            seconds of time.time.
    """
    import torch
    from engine import flops_per_token
    from engine_ways import WAYS, figures_of
    from random_inputs import write_plan

    from retune.artifacts.publishing import read_json
    from retune.launching.this_machine import LOOPBACK, free_port, rank_environment
    from retune.measuring.peak_flops import peak_flops
    from retune.settings import ConfigureSettings

    case, inputs = Case(**task["case"]), Path(task["folder"])
    shape = shape_of(case, task["toy"])
    os.environ |= {
        **rank_environment(shape.setup.accelerator, 1, LOOPBACK),
        **{"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"},
        "MASTER_PORT": str(free_port()),
    }
    settings = ConfigureSettings(**settings_of(case, task["toy"]))
    with tempfile.TemporaryDirectory(dir=inputs.parent) as work:
        write_plan(inputs, shape.setup, settings, inputs / "plan", shape.lora)
        options = case.options | ({"lora": shape.lora} if shape.lora else {})
        run = WAYS[case.way](inputs, Path(work), shape.steps, **options)
        figures: dict[str, Any] = figures_of([run], DROPPED)
        figures |= figures_of_state(Path(work))
    told = time.time() - task["began"]
    figures["start_seconds"] = told - (time.perf_counter() - run.starts[0])
    flops = flops_per_token(inputs, shape.setup, shape.lora)
    figures["FLOPs/token"] = flops
    figures["plan"] = read_json(inputs / "plan/plan.json")
    if torch.cuda.is_available():
        figures["device"] = torch.cuda.get_device_name()
        figures["reserved GB"] = torch.cuda.max_memory_reserved() / 1e9
        peak = peak_flops(figures["device"], "bf16")
        if peak and flops:
            figures["MFU %"] = 100 * flops * figures["tokens/s"] / peak
    return figures


def figures_of_state(state: Path) -> dict[str, Any]:
    """Return what our loop itself has measured: its passes, and its profile.

    Args:
        state: Folder of its history; the Trainer leaves none there.
    """
    from retune.artifacts.training_operations import TRACE
    from retune.measuring.history import FILE, read_history, steps_in
    from retune.measuring.profiling import PROFILED

    figures: dict[str, Any] = {}
    if (state / FILE).exists():
        rows = steps_in(read_history(state))[DROPPED:]
        for name in ("forward", "backward", "optimizer"):
            seconds = [getattr(row, f"{name}_seconds") or 0.0 for row in rows]
            figures[f"{name} s/step"] = sum(seconds) / len(seconds)
    if (state / TRACE).exists():
        figures["profile"] = kernel_table(state / TRACE, PROFILED)
    return figures


if __name__ == "__main__":
    main()
