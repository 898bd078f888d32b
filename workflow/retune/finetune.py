"""The step `finetune`: start the ranks, show their progress, publish the result."""

import hashlib
import logging
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from retune.errors import RetuneError
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
from retune.training.checkpoint_files import find_checkpoints, link_folder
from retune.training.history import as_csv, read_history
from retune.training.packing import PackedBlocks
from retune.training.provenance import record_provenance
from retune.training.schedules import num_steps, resolve_learning_rate

log = logging.getLogger(__name__)

POLL_S = 0.2
# Characters of a rank's error that are repeated at the end; the log has all of it.
ERROR_LENGTH = 400


def run(
    settings: FinetuneSettings,
    base: Path,
    tokens: Path,
    plan: Path,
    state: Path,
    checkpoint: Path,
    history: Path,
    provenance: Path,
    metrics: Path,
) -> str:
    """Train on the ranks of the plan, resuming what an earlier try left in `state`.

    `state` is nobody's output: Snakemake and DVC delete outputs before a rerun. It is
    keyed by everything the training depends on, so another setting never resumes it,
    and removed once the result is published.
    """
    facts = read_json(plan / "plan.json")
    if facts["hardware"]["nodes"] > 1:
        raise RetuneError(
            f"hardware.nodes: {facts['hardware']['nodes']}: finetune starts the ranks"
            " of one node only, so far; write 1"
        )
    settings = resolve_learning_rate(
        settings, read_json(base / MANIFEST).get("source", "")
    )
    run_state = state / key_of_run(settings, base, tokens, plan)
    run_state.mkdir(parents=True, exist_ok=True)
    total = num_steps(
        settings, len(PackedBlocks(tokens, "train")), facts["global_batch_size"]
    )
    resumed = find_checkpoints(run_state)
    build_ops(facts)
    start = time.monotonic()
    with progress_bar("finetune", total, "steps") as bar:
        command = launch_command(facts["world_size"], settings, base, tokens, plan)
        follow(
            [*command, "--state", str(run_state)],
            launch_environment(facts),
            run_state,
            bar,
        )
    records = read_history(run_state)
    summary = summarize(records, time.monotonic() - start)
    if resumed:
        summary["resumed_from_step"] = int(resumed[-1].name.removeprefix("step-"))
    with published_folder(checkpoint) as stage:
        link_folder(find_checkpoints(run_state)[-1], stage)
    write_text(history, as_csv(records))
    write_json(provenance, vars(record_provenance(Path.cwd())))
    write_json(metrics, summary)
    shutil.rmtree(run_state)
    return (
        f"{summary['steps']} steps, validation loss"
        f" {records[0]['validation_loss']:.3f} -> {summary['validation_loss']:.3f},"
        f" {summary['tokens_per_second']:,.0f} tokens/s"
        + (f" (resumed at step {summary['resumed_from_step']})" if resumed else "")
    )


def key_of_run(settings: FinetuneSettings, base: Path, tokens: Path, plan: Path) -> str:
    """Return a name for all that the training depends on, 16 hex digits."""
    parts = [
        settings.model_dump_json(),
        sha256(base / MANIFEST),
        sha256(tokens / MANIFEST),
        sha256(plan / "plan.json"),
        sha256(plan / "deepspeed.json"),
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def launch_command(
    world_size: int, settings: FinetuneSettings, base: Path, tokens: Path, plan: Path
) -> list[str]:
    """Return the DeepSpeed launcher's command line for one node."""
    return [
        *[sys.executable, "-m", "deepspeed.launcher.runner"],
        *["--num_gpus", str(world_size), "--master_port", str(free_port())],
        *["--no_local_rank", "--module", "retune.training.loop"],
        *["--settings", settings.model_dump_json()],
        *["--base", str(base), "--tokens", str(tokens), "--plan", str(plan)],
    ]


def launch_environment(facts: dict[str, Any]) -> dict[str, str]:
    """Return the environment of the ranks."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    if facts["hardware"]["accelerator"] == "cpu":
        cores = len(os.sched_getaffinity(0))
        environment |= {
            "DS_ACCELERATOR": "cpu",
            "OMP_NUM_THREADS": str(max(1, cores // facts["world_size"])),
        }
        if any(name == "lo" for _, name in socket.if_nameindex()):
            # The ranks share one machine: talk over loopback, whatever its name means.
            environment["GLOO_SOCKET_IFNAME"] = "lo"
    return environment


def free_port() -> int:
    """Return a port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


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
            f" not be built ({error}): install g++ and ninja, or write none"
        ) from error


def follow(
    command: list[str], environment: dict[str, str], state: Path, bar: Any
) -> None:
    """Run the launcher to its end, moving the bar as the ranks report their steps.

    Raises:
        RetuneError: With the error of the rank that failed first.
    """
    for old in state.glob("failure-rank*.json"):
        old.unlink()
    # The ranks' output is the log's; stdout is the bar's.
    launcher = subprocess.Popen(command, env=environment, stdout=sys.stderr)
    try:
        while launcher.poll() is None:
            time.sleep(POLL_S)
            show_progress(bar, read_history(state))
    finally:
        stop(launcher)
    if launcher.returncode == 0:
        return
    failures = [read_json(path) for path in state.glob("failure-rank*.json")]
    if not failures:
        raise RetuneError(
            f"the ranks ended with exit code {launcher.returncode} and left no error;"
            " killed, or out of memory? The checkpoints stay: the next run resumes"
        )
    first = min(failures, key=lambda failure: failure["time"])
    if first["mendable"]:
        raise RetuneError(first["error"])
    summary = " ".join(first["error"].split())[:ERROR_LENGTH]
    raise RetuneError(f"rank {first['rank']} failed first: {summary}")


def show_progress(bar: Any, records: list[dict[str, Any]]) -> None:
    """Move the bar to the last step, with loss and speed beside it."""
    if bar.disable or not records or (last := records[-1])["step"] == 0:
        return
    speed = last["num_labels"] / last["seconds"]
    bar.set_postfix_str(
        f"loss {last['train_loss']:.3f}, {speed:,.0f} tokens/s", refresh=False
    )
    bar.update(last["step"] - bar.n)


def stop(launcher: subprocess.Popen) -> None:
    """End the launcher, and with it the ranks, if they still run."""
    if launcher.poll() is not None:
        return
    launcher.terminate()
    try:
        launcher.wait(timeout=10)
    except subprocess.TimeoutExpired:
        launcher.kill()
        launcher.wait()


def summarize(records: list[dict[str, Any]], seconds: float) -> dict[str, Any]:
    """Return the run's numbers, flat."""
    steps = [record for record in records if record["step"] > 0]
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
