"""The planner's grid: predicted memory and time of strategies beside measured ones.

`gpu.py` starts it: `python benchmarks/gpu_planner.py --out DIR --inputs FOLDER`. All
predictions are among the results before anything is measured. Each training has a
process of its own, which has got ready before.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from itertools import chain
from pathlib import Path
from threading import Lock
from typing import Any

from gpu_grid import GridCase
from gpu_part import part_parser
from gpu_predictions import GB, Prediction, in_gb, predict_all
from gpu_results import GRID, add_record
from gpu_scores import summary
from standby import Standby, TaskError, standbys, wait_for_task

# Processes that get ready at once, and that train: while one takes its steps, others
# load. Imports take longer than a training.
AHEAD, AT_ONCE = 5, 3
# Limit of one training, seconds, and the least time that one is begun with.
CASE_SECONDS, LEAST_SECONDS = 60, 8
# After so many trainings the scores are written: a run may be cut off.
SCORE_EVERY = 10
# On a GPU a training also says what it holds in the end, with and without the
# workspaces of cuBLAS, whose sizes the prediction has from PyTorch's source.
WORKSPACES = ("allocated bytes", "without workspaces")
# DeepSpeed compiles its AdamW for main memory, for half a minute.
BUILD = """
from retune.launching.compiled_operators import build
build("cpu_adam", "offload_optimizer")
"""


def main() -> None:
    """Predict all trainings, and measure as many as there is time for."""
    parser = part_parser(__doc__.partition("\n")[0])
    options = parser.parse_args()
    if options.stand_by:
        wait_for_task(get_ready(options.toy), options.stand_by)
        return
    deadline = time.monotonic() + options.seconds
    command = [sys.executable, __file__, *(["--toy"] * options.toy), "--stand-by"]
    with tempfile.TemporaryDirectory(dir=options.inputs) as folder:
        processes = standbys(command, Path(folder), 1 if options.toy else AHEAD)
        with closing(processes), operators_built_meanwhile(options.toy):
            first = next(processes)
            try:
                todo = []
                pairs = predict_all(options.toy, options.only, Path(folder))
                for case, predicted in pairs:
                    said = {"model": case.model, "training": case.name}
                    if isinstance(predicted, str):
                        error = f"no prediction: {predicted}"
                        add_record(options.out, part=GRID, **said, error=error)
                        continue
                    todo.append((case, predicted))
                    said |= predicted.figures
                    add_record(options.out, part=GRID, predicted=said)
                all_of_them = chain([first], processes)
                measure_all(todo, options, Path(folder), deadline, all_of_them)
            finally:
                first.end()


def get_ready(toy: bool) -> Any:
    """Import what trainings need, let the GPU make its context; return what trains."""
    from retune.imports import without_garbage_collection

    with without_garbage_collection():
        import torch
        from planned_training import measure
    if not toy:
        torch.zeros(1, device="cuda")
    return measure


@contextmanager
def operators_built_meanwhile(toy: bool) -> Iterator[None]:
    """Have the operators built that trainings will wait for."""
    environment = {**os.environ, "DS_ACCELERATOR": "cpu" if toy else "cuda"}
    command = [sys.executable, "-c", "" if toy else BUILD]
    # In the group of processes that `gpu.py` ends, together with its compilers.
    process = subprocess.Popen(command, env=environment)
    try:
        yield
    finally:
        process.kill()
        process.wait()


def measure_all(
    todo: list[tuple[GridCase, Prediction]],
    options: argparse.Namespace,
    folder: Path,
    deadline: float,
    processes: Iterator[Standby],
) -> None:
    """Train as long as there is time, and write how good the predictions were.

    Args:
        todo: The trainings, with what is predicted of them.
        options: Of the command.
        folder: Folder of the models.
        deadline: When all must be done, seconds of time.monotonic.
        processes: Processes that are ready.
    """
    one_by_one = Lock()
    records: list[dict[str, Any]] = []

    def write_scores() -> None:
        add_record(options.out, part=GRID, text=summary(records), is_score=True)

    def do(case: GridCase, predicted: Prediction) -> None:
        record = {
            "model": case.model,
            "training": case.name,
            "is_beyond": case.is_beyond,
            **predicted.figures,
        }
        left = deadline - time.monotonic()
        if left < LEAST_SECONDS:
            record["error"] = "no time left"
        else:
            with one_by_one:
                process = next(processes)
            record |= measured(case, predicted, folder, process, left)
        with one_by_one:
            add_record(options.out, part=GRID, **record)
            records.append(record)
            if len(records) % SCORE_EVERY == 0:
                write_scores()

    with ThreadPoolExecutor(1 if options.toy else AT_ONCE) as threads:
        # What has failed in a thread fails here.
        list(threads.map(lambda pair: do(*pair), todo))
    write_scores()


def measured(
    case: GridCase, predicted: Prediction, folder: Path, process: Standby, left: float
) -> dict[str, Any]:
    """Return the figures of a training, or why there are none.

    Args:
        case: The training.
        predicted: What is predicted of it.
        folder: Folder of the models.
        process: Process that trains.
        left: Seconds until all must be done.
    """
    most = None
    if case.gpu_memory_gb:
        context = predicted.memory.peak.bytes_by_kind["context"]
        most = case.gpu_memory_gb * GB - context
    task = {
        "plan": predicted.plan.model_dump(),
        "base": str(folder / case.model),
        "most_bytes": most,
        "lock": str(folder / "steps.lock"),
    }
    try:
        found = process.do(task, min(CASE_SECONDS, left))
    except TaskError as error:
        return {"error": str(error)}
    held, seconds = found["held"], min(found["seconds"][1:])
    peak, wanted = max(held.values()), max(predicted.bytes_by_phase.values())
    return {
        "GB": peak / GB,
        "phases": in_gb(held),
        "error %": 100 * (wanted / peak - 1),
        "s/step": seconds,
        "tokens/s": predicted.plan.tokens_per_step / seconds,
        "seconds": found["seconds"],
        **{name: found[name] for name in WORKSPACES if name in found},
    }


if __name__ == "__main__":
    main()
