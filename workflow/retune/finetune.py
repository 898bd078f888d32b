"""The step `finetune`: start the ranks, show their progress, publish the result."""

import fcntl
import hashlib
import logging
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from retune.errors import RetuneError, Stopped
from retune.progress import progress_bar
from retune.publishing import (
    MANIFEST,
    published_folder,
    read_json,
    sha256,
    write_json,
    write_text,
)
from retune.settings import FinetuneSettings
from retune.steps import CODE
from retune.training import launch
from retune.training.checkpoint_files import find_checkpoints, link_folder
from retune.training.history import (
    STARTED,
    STEPS,
    VALIDATIONS,
    as_csv,
    read_history,
)
from retune.training.packing import PackedBlocks
from retune.training.provenance import record_provenance
from retune.training.schedules import num_steps, resolve_learning_rate
from retune.training.stopping import StopRequest

log = logging.getLogger(__name__)


def run(
    settings: FinetuneSettings,
    base: Path,
    tokens: Path,
    plan: Path,
    state: Path,
    checkpoint: Path,
    history: Path,
    validation: Path,
    provenance: Path,
    metrics: Path,
) -> str:
    """Train on the ranks of the plan, resuming what an earlier try left in `state`.

    `state` is nobody's output: Snakemake and DVC delete outputs before a rerun. It is
    keyed by everything the training depends on, so another setting never resumes it,
    and removed once the result is published.
    """
    facts = read_json(plan / "plan.json")
    check_devices(facts)
    settings = resolve_learning_rate(
        settings, read_json(base / MANIFEST).get("source", "")
    )
    run_state = state / key_of_run(settings, base, tokens, plan)
    run_state.mkdir(parents=True, exist_ok=True)
    total = num_steps(
        settings, len(PackedBlocks(tokens, "train")), facts["global_batch_size"]
    )
    build_ops(facts)
    start = time.monotonic()
    with only_run_in(run_state), progress_bar("finetune", total, "steps") as bar:
        run_ranks(settings, base, tokens, plan, run_state, facts, bar)
        records = read_history(run_state)
        summary = summarize(records, time.monotonic() - start)
        if resumed := read_json(run_state / STARTED)["step"]:
            summary["resumed_from_step"] = resumed
        with published_folder(checkpoint) as stage:
            last = find_checkpoints(run_state)[-1]
            link_folder(last, stage)
            if settings.save_only_model:
                from retune.training.moments import leave_out_moments

                leave_out_moments(last, stage)
        write_text(history, as_csv(records, STEPS))
        write_text(validation, as_csv(records, VALIDATIONS))
        write_json(provenance, vars(record_provenance(Path.cwd())))
        write_json(metrics, summary)
        shutil.rmtree(run_state)
    return (
        f"{summary['steps']} steps, validation loss"
        f" {records[0]['validation_loss']:.3f} -> {summary['validation_loss']:.3f},"
        f" {summary['tokens_per_second']:,.0f} tokens/s"
        + (f" (resumed at step {resumed})" if resumed else "")
    )


def run_ranks(
    settings: FinetuneSettings,
    base: Path,
    tokens: Path,
    plan: Path,
    state: Path,
    facts: dict[str, Any],
    bar: Any,
) -> None:
    """Run the ranks to the last step.

    Raises:
        Stopped: If a signal asked for it, after a checkpoint.
        RetuneError: With the error of the rank that failed first, or that hangs.
    """
    command = launch.rank_command(settings, base, tokens, plan, state)
    accelerator = facts["hardware"]["accelerator"]
    launch.remove_leftovers(state)
    try:
        with (
            StopRequest() as stop,
            launch.started(command, accelerator, facts["world_size"]) as ranks,
        ):
            finished = launch.follow(ranks, state, bar, stop, settings.ddp_timeout)
    finally:
        launch.remove_leftovers(state)
    if not finished:
        # None: the signal went to a rank, which told the others.
        on = stop.received[0].name if stop.received else "a signal to a rank"
        done = read_json(find_checkpoints(state)[-1] / MANIFEST)["step"]
        raise Stopped(
            f"stopped at step {done} of {bar.total} on {on} and saved; run the same"
            " command to go on"
        )


def check_devices(facts: dict[str, Any]) -> None:
    """Raise RetuneError if this machine cannot hold the ranks of the plan."""
    if facts["hardware"]["accelerator"] != "cuda":
        return
    import torch

    there, wanted = torch.cuda.device_count(), facts["hardware"]["gpus_per_node"]
    if there < wanted:
        raise RetuneError(
            f"hardware.gpus_per_node: the plan is for {wanted} GPUs, this machine shows"
            f" {there}; change it, or run finetune where they are"
        )


@contextmanager
def only_run_in(state: Path) -> Iterator[None]:
    """Hold a lock beside a state folder; two runs in one would spoil each other."""
    lock = state.with_suffix(".lock")
    with lock.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise RetuneError(
                f"{state}: another run trains exactly this already; wait for it"
            ) from None
        yield
        lock.unlink(missing_ok=True)


def key_of_run(settings: FinetuneSettings, base: Path, tokens: Path, plan: Path) -> str:
    """Return a name for all that the training depends on, 16 hex digits.

    How often to save, and what, is left out: it changes nothing but what is kept.
    """
    library = Path(__file__).parent
    only_saving = {"save_steps", "save_total_limit", "save_only_model"}
    parts = [
        settings.model_dump_json(exclude=only_saving),
        sha256(base / MANIFEST),
        sha256(tokens / MANIFEST),
        sha256(plan / "plan.json"),
        sha256(plan / "deepspeed.json"),
        *(sha256(library / f"{module}.py") for module in CODE["finetune"]),
        *(version(package) for package in ("torch", "deepspeed", "transformers")),
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def build_ops(facts: dict[str, Any]) -> None:
    """Compile what the plan needs before ranks start, and say so."""
    if facts["offload_optimizer"] != "cpu":
        return
    log.info("building DeepSpeed's cpu_adam: about two minutes, the first time only")
    from deepspeed.ops.op_builder import CPUAdamBuilder

    try:
        CPUAdamBuilder().load(verbose=False)
    except Exception as error:
        raise RetuneError(
            "configure.offload_optimizer: cpu needs DeepSpeed's cpu_adam, which could"
            f" not be built ({str(error).splitlines()[0]}): install a C++ compiler,"
            " ninja and the CUDA toolkit (nvcc), or write none"
        ) from error


def summarize(records: list[dict[str, Any]], seconds: float) -> dict[str, Any]:
    """Return the run's numbers, flat."""
    steps = [record for record in records if "num_labels" in record]
    validations = [r["validation_loss"] for r in records if "validation_loss" in r]
    tokens = sum(record["num_labels"] for record in steps)
    return {
        "steps": len(steps),
        "epochs": steps[-1]["epoch"],
        "tokens": tokens,
        "train_loss": steps[-1]["train_loss"],
        "validation_loss": validations[-1],
        "best_validation_loss": min(validations),
        "tokens_per_second": round(tokens / sum(r["seconds"] for r in steps), 1),
        "seconds": round(seconds, 1),
    }
