"""The step `finetune`: start the ranks, show their progress, publish the result."""

import fcntl
import hashlib
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
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
from retune.steps import CODE
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

log = logging.getLogger(__name__)

# Tells the ranks whose end is theirs.
STEP_PID = "RETUNE_STEP_PID"

POLL_S = 0.2
GRACE_S = 5.0
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
        command = launch_command(facts, settings, base, tokens, plan)
        follow(
            [*command, "--state", str(run_state)],
            launch_environment(facts),
            run_state,
            bar,
        )
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


def launch_command(
    facts: dict[str, Any],
    settings: FinetuneSettings,
    base: Path,
    tokens: Path,
    plan: Path,
) -> list[str]:
    """Return the DeepSpeed launcher's command line for one node."""
    return [
        *[sys.executable, "-m", "deepspeed.launcher.runner"],
        # None: a hostfile that lies on the machine is not ours.
        *["--hostfile", os.devnull, "--master_port", str(free_port())],
        *device_options(facts),
        *["--no_local_rank", "--module", "retune.training.loop"],
        *["--settings", settings.model_dump_json()],
        *["--base", str(base), "--tokens", str(tokens), "--plan", str(plan)],
    ]


def device_options(facts: dict[str, Any]) -> list[str]:
    """Return which devices the launcher hands to the ranks.

    With --num_gpus it would count from 0, whatever CUDA_VISIBLE_DEVICES allows.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if facts["hardware"]["accelerator"] == "cpu" or not visible:
        return ["--num_gpus", str(facts["world_size"])]
    mine = visible.split(",")[: facts["world_size"]]
    return ["--include", f"localhost:{','.join(mine)}"]


def launch_environment(facts: dict[str, Any]) -> dict[str, str]:
    """Return the environment of the ranks."""
    accelerator = facts["hardware"]["accelerator"]
    environment = {
        **os.environ,
        "DS_ACCELERATOR": accelerator,
        "HF_HUB_OFFLINE": "1",
        STEP_PID: str(os.getpid()),
    }
    if accelerator == "cpu":
        cores = len(os.sched_getaffinity(0))
        threads = max(1, cores // facts["world_size"])
        environment["OMP_NUM_THREADS"] = str(threads)
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
            f" not be built ({str(error).splitlines()[0]}): install a C++ compiler,"
            " ninja and the CUDA toolkit (nvcc), or write none"
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
    # The ranks' output is the log's; stdout is the bar's. A session of their own makes
    # them a group that can be ended as a whole.
    launcher = subprocess.Popen(
        command, env=environment, stdout=sys.stderr, start_new_session=True
    )
    try:
        while launcher.poll() is None:
            time.sleep(POLL_S)
            if not bar.disable:
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
    if not records or (last := records[-1])["step"] == 0:
        return
    speed = last["num_labels"] / last["seconds"]
    bar.set_postfix_str(
        f"loss {last['train_loss']:.3f}, {speed:,.0f} tokens/s", refresh=False
    )
    bar.update(last["step"] - bar.n)


def stop(launcher: subprocess.Popen) -> None:
    """End the launcher and the ranks, its process group, if any still run."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(launcher.pid, number)
        except ProcessLookupError:
            break
        with suppress(subprocess.TimeoutExpired):
            launcher.wait(timeout=GRACE_S)
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
