"""The step `finetune`: start the ranks, show their progress, publish the result."""

import fcntl
import hashlib
import json
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
from retune.training import launch, nodes, slurm
from retune.training.checkpoint_files import best_of, find_checkpoints, link_folder
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
from retune.training.schedules import num_steps, resolve_learning_rate
from retune.training.speed import summarize_speed
from retune.training.stopping import StopRequest
from retune.training.swap_folders import remove_swap_files

log = logging.getLogger(__name__)

# What of settings, plan and DeepSpeed config is, or is not, in the key of a run.
NOT_IN_KEY = {
    *("save_steps", "save_total_limit", "save_only_model", "load_best_model_at_end"),
    *("ddp_timeout", "max_skipped_steps"),
}
PLAN_IN_KEY = (
    *("global_batch_size", "sequence_length", "precision", "pipeline_stages"),
    "attn_implementation",
)
PORTIONS = {"train_micro_batch_size_per_gpu", "gradient_accumulation_steps"}


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
    config = read_json(plan / "deepspeed.json")
    start = time.monotonic()
    with only_run_in(run_state), progress_bar("finetune", total, "steps") as bar:
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
        write_json(metrics, summary)
        shutil.rmtree(run_state)
        remove_swap_files(config, run_state.name)
    return (
        f"{summary['steps']} steps, validation loss"
        f" {records[0]['validation_loss']:.3f} -> {summary['validation_loss']:.3f},"
        f" {summary['tokens_per_second']:,.0f} tokens/s"
        + (f", MFU {summary['mfu']:.0%}" if summary["mfu"] else "")
        + (describe_resume(started, facts) if resumed else "")
    )


def describe_resume(started: dict[str, Any], facts: dict[str, Any]) -> str:
    """Return where the run was resumed and, if it was another number, on what ranks."""
    saved_on, now = started["saved_on"], facts["world_size"]
    ranks = "" if saved_on == now else f", saved on {saved_on} ranks, now on {now}"
    return f" (resumed at step {started['step']}{ranks})"


def checkpoint_to_publish(state: Path, settings: FinetuneSettings) -> Path:
    """Return the last checkpoint, or the best one if that is wanted."""
    folders = find_checkpoints(state)
    best = best_of(folders) if settings.load_best_model_at_end else None
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
    hardware = facts["hardware"]
    before = newest_step(state)
    launch.remove_leftovers(state)
    try:
        with StopRequest() as stop:
            if hardware["nodes"] > 1:
                nodes.run_nodes(settings, *paths, facts, bar, stop)
            else:
                command = launch.rank_command(settings, *paths)
                with launch.started(
                    command, hardware["accelerator"], facts["world_size"]
                ) as ranks:
                    launch.follow(ranks, state, bar, stop, settings.ddp_timeout)
    finally:
        launch.remove_leftovers(state)
    done = newest_step(state)
    if done < bar.total:
        # None: the signal went to a rank, which told the others.
        on = stop.received[0].name if stop.received else "a signal to a rank"
        raise Stopped(
            f"stopped at step {done} of {bar.total} on {on} and saved;"
            f" {how_it_goes_on(done > before)}"
        )


def newest_step(state: Path) -> int:
    """Return the step of the newest checkpoint, 0 without one."""
    folders = find_checkpoints(state)
    return read_json(folders[-1] / MANIFEST)["step"] if folders else 0


def how_it_goes_on(has_advanced: bool) -> str:
    """Return what becomes of a training that was stopped; in a SLURM job see to it."""
    if has_advanced and slurm.requeue():
        return "its SLURM job is queued again and goes on from there"
    return "run the same command to go on"


@contextmanager
def only_run_in(state: Path) -> Iterator[None]:
    """Hold a lock beside a state folder; two runs in one would spoil each other."""
    lock = state.with_suffix(".lock")
    with lock.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RetuneError(
                f"{state}: another run trains exactly this already; wait for it"
            ) from None
        except OSError as error:
            raise RetuneError(
                f"{state}: its file system has no locks ({error.strerror}), so two runs"
                " could spoil each other; link state/ to one that has them"
            ) from None
        yield
        lock.unlink(missing_ok=True)


def key_of_run(settings: FinetuneSettings, base: Path, tokens: Path, plan: Path) -> str:
    """Return a name for all that decides the result of the training, 16 hex digits.

    Left out is what may change between two tries of one run: what is kept of it, how
    it is watched, and on how many ranks and in what portions a batch is computed.
    """
    library = Path(__file__).parent
    facts = read_json(plan / "plan.json")
    config = read_json(plan / "deepspeed.json")
    parts = [
        settings.model_dump_json(exclude=NOT_IN_KEY),
        json.dumps({key: facts[key] for key in PLAN_IN_KEY}),
        facts["hardware"]["accelerator"],
        json.dumps({k: v for k, v in config.items() if k not in PORTIONS}),
        sha256(base / MANIFEST),
        sha256(tokens / MANIFEST),
        *(sha256(library / f"{module}.py") for module in CODE["finetune"]),
        *(version(package) for package in ("torch", "deepspeed", "transformers")),
        *([version("peft")] if settings.lora else []),
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


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
