"""The step `finetune`: start the ranks, show their progress, publish the result."""

import logging
import shutil
import time
from pathlib import Path
from typing import Any

from retune.errors import RetuneError, Stopped
from retune.progress import progress_bar
from retune.publishing import (
    MANIFEST,
    published_folder,
    read_json,
    write_json,
    write_sealed,
    write_text,
)
from retune.quantities import counted
from retune.settings import FinetuneSettings
from retune.starter import starter
from retune.training import launch, nodes, slurm
from retune.training.checkpoint_files import (
    best_of,
    find_checkpoints,
    find_damage,
    link_folder,
    step_of,
)
from retune.training.control import end_earlier_nodes
from retune.training.devices import check_devices
from retune.training.history import (
    MEASURED,
    STARTED,
    STEPS,
    VALIDATIONS,
    as_csv,
    read_history,
)
from retune.training.ops import build_ops
from retune.training.packing import PackedBlocks
from retune.training.provenance import record_provenance
from retune.training.run_key import identity_of, key_of, open_run
from retune.training.run_lock import only_run_in
from retune.training.schedules import (
    find_warnings,
    num_steps,
    resolve_learning_rate,
)
from retune.training.speed import summarize_speed
from retune.training.stopping import StopRequest
from retune.training.swap_folders import remove_swap_files
from retune.training.verified_inputs import LARGE, NOT_READ
from retune.training.watched_progress import BarAndLog
from retune.verifying import read_verified, verify_folder

log = logging.getLogger(__name__)

# Before the name of a run that is being removed.
REMOVED = ".removed-"


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

    Args:
        settings: The `finetune` section.
        base: Folder of the base model that fetch made (models/base).
        tokens: Folder of the tokens that tokenize made (data/tokens).
        plan: Folder of the plan that configure made (plan).
        state: Folder of the checkpoints that a later try resumes from (state).
        checkpoint: Folder to publish: the last checkpoint, a file per rank
            (results/finetune/checkpoint).
        history: CSV file to write: what each step measured
            (results/finetune/history.csv).
        validation: CSV file to write: the validation losses
            (results/finetune/validation.csv).
        provenance: JSON file to write: where the training ran, with which versions
            (results/finetune/provenance.json).
        metrics: JSON file to write: losses, speed, memory (metrics/finetune.json).
    """
    facts = verify_inputs(base, tokens, plan)
    check_devices(facts)
    settings = resolve_learning_rate(
        settings, read_json(base / MANIFEST).get("source", "")
    )
    for leftover in state.glob(f"{REMOVED}*"):
        shutil.rmtree(leftover, ignore_errors=True)
    identity = identity_of(settings, base, tokens, plan)
    length = len(PackedBlocks(tokens, "train")), facts["global_batch_size"]
    total, warnings = num_steps(settings, *length), find_warnings(settings, *length)
    for warning in warnings:
        log.warning("%s", warning)
    build_ops(facts)
    config = read_json(plan / "deepspeed.json")
    start = time.monotonic()
    with (
        only_run_in(state / key_of(identity)),
        progress_bar("finetune", total, "steps") as bar,
    ):
        run_state = open_run(state, identity)
        run_ranks(settings, base, tokens, plan, run_state, facts, bar)
        result = checkpoint_to_publish(run_state, settings)
        records = read_history(run_state)
        summary = summarize(
            records,
            read_json(run_state / MEASURED),
            read_json(result / MANIFEST),
            time.monotonic() - start,
        )
        started = read_json(run_state / STARTED)
        if resumed := started["step"]:
            summary["resumed_from_step"] = resumed
        with published_folder(checkpoint) as stage:
            link_folder(result, stage)
            if settings.save_only_model:
                from retune.training.moments import leave_out_moments

                leave_out_moments(result, stage)
        write_text(history, as_csv(records, STEPS, of="train_loss"))
        write_text(validation, as_csv(records, VALIDATIONS, of="validation_loss"))
        write_json(provenance, vars(record_provenance(Path.cwd())))
        write_sealed(metrics, summary, [history, validation, provenance])
        keep_for_the_next_run()
        remove_run(run_state)
        remove_swap_files(config, run_state.name)
    return (
        f"{counted(summary['steps'], 'step')}, validation loss"
        f" {records[0]['validation_loss']:.3f} -> {summary['validation_loss']:.3f},"
        f" {summary['tokens_per_second']:,.0f} tokens/s"
        + (f", MFU {summary['mfu']:.0%}" if summary["mfu"] else "")
        + (describe_resume(started, facts) if resumed else "")
        + "".join(f"; {warning}" for warning in warnings)
    )


def verify_inputs(base: Path, tokens: Path, plan: Path) -> dict[str, Any]:
    """Return the plan once what is read is what was written, but for large files.

    Those the ranks verify before they load them.
    """
    verify_folder(base, "fetch", leave_out=LARGE)
    verify_folder(tokens, "tokenize", leave_out=(*LARGE, *NOT_READ))
    return read_verified(plan / "plan.json", "configure", plan / "deepspeed.json")


def describe_resume(started: dict[str, Any], facts: dict[str, Any]) -> str:
    """Return where the run was resumed and, if it was another number, on what ranks."""
    saved_on, now = started["saved_on"], facts["world_size"]
    moved = f", saved on {counted(saved_on, 'rank')}, now on {now}"
    ranks = "" if saved_on == now else moved
    return f" (resumed at step {started['step']}{ranks})"


def checkpoint_to_publish(state: Path, settings: FinetuneSettings) -> Path:
    """Return the last checkpoint, or the best one if that is wanted.

    Raises:
        RetuneError: If the best one has been damaged since it was written.
    """
    folders = find_checkpoints(state)
    best = best_of(folders) if settings.load_best_model_at_end else None
    # The last one has just been written, or verified before it was resumed.
    if best not in (None, folders[-1]) and (problem := find_damage(best)):
        raise RetuneError(
            f"{best}, the best checkpoint, cannot be published ({problem}); bring back"
            " a good copy, or write finetune.load_best_model_at_end: false"
        )
    return best or folders[-1]


def run_ranks(
    settings: FinetuneSettings,
    base: Path,
    tokens: Path,
    plan: Path,
    state: Path,
    facts: dict[str, Any],
    bar: Any,
) -> None:
    """Run the ranks to the last step, on this machine or on several.

    Raises:
        Stopped: If a signal asked for it, after a checkpoint.
        RetuneError: With the error of the rank that failed first, or that hangs.
    """
    paths = base, tokens, plan, state
    progress = BarAndLog(bar)
    hardware = facts["hardware"]
    end_earlier_nodes(state)
    launch.remove_leftovers(state)
    try:
        with StopRequest() as stop:
            if hardware["nodes"] > 1:
                nodes.run_nodes(settings, *paths, facts, progress, stop)
            else:
                command = launch.rank_command(settings, *paths)
                with launch.started(
                    command, hardware["accelerator"], facts["world_size"]
                ) as ranks:
                    launch.follow(ranks, state, progress, stop, settings.ddp_timeout)
    finally:
        launch.remove_leftovers(state)
    done = newest_step(state)
    if done < bar.total:
        # None: the signal went to a rank, which told the others.
        on = stop.received[0].name if stop.received else "a signal to a rank"
        raise Stopped(
            f"stopped at step {done} of {bar.total} on {on} and saved;"
            f" {how_it_goes_on()}"
        )


def newest_step(state: Path) -> int:
    """Return the step of the newest checkpoint, 0 without one."""
    return max(map(step_of, find_checkpoints(state)), default=0)


def keep_for_the_next_run() -> None:
    """End here if what started this step has gone: nobody will use the result.

    The next run finds the last checkpoint, and has nothing left to train.

    Raises:
        Stopped: If it has gone.
    """
    if starter().gone() is not None:
        raise Stopped(
            "trained to the last step, but what started this step has ended; run the"
            " same command to go on"
        )


def remove_run(state: Path) -> None:
    """Remove the folder of a run that is published: all of it or, for a reader, none.

    What an interruption left of it would be resumed. And after it Snakemake would have
    the step run again, from nothing: signals wait until this is done.
    """
    with StopRequest():
        rest = state.rename(state.with_name(f"{REMOVED}{state.name}"))
        shutil.rmtree(rest, ignore_errors=True)


def how_it_goes_on() -> str:
    """Return what becomes of a training that was stopped; in a SLURM job see to it.

    Every try takes a step at least, so that a job is not queued again for ever.
    """
    if slurm.requeue():
        return "its SLURM job is queued again and goes on from there"
    return "run the same command to go on"


def summarize(
    records: list[dict[str, Any]],
    measured: dict[str, Any],
    published: dict[str, Any],
    seconds: float,
) -> dict[str, Any]:
    """Return the run's numbers, flat.

    Args:
        records: The history.
        measured: What the ranks measured once (see History.finish).
        published: Manifest of the checkpoint that is published.
        seconds: Of the step.
    """
    steps = [record for record in records if "num_labels" in record]
    validations = [r["validation_loss"] for r in records if "validation_loss" in r]
    losses = [r["train_loss"] for r in steps if r["train_loss"] is not None]
    speed = summarize_speed(
        steps,
        len(measured["peak_memory_gb"]),
        measured["flops_per_token"],
        measured["device_flops"],
    )
    return {
        "steps": len(steps),
        "published_step": published["step"],
        "skipped_steps": published["skipped"],
        "epochs": steps[-1]["epoch"],
        "tokens": sum(record["num_labels"] for record in steps),
        "train_loss": losses[-1],
        "validation_loss": published["validation_loss"],
        "best_validation_loss": min(validations),
        **{key: rounded(value) for key, value in speed.items()},
        "peak_memory_gb": [round(gb, 3) for gb in measured["peak_memory_gb"]],
        "seconds": round(seconds, 1),
    }


def rounded(value: float | None) -> float | None:
    """Return a measured number with the digits that mean something."""
    return value and float(f"{value:.4g}")
