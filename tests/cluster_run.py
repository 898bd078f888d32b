"""A small run whose steps are jobs of a SLURM cluster."""

import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from retune.artifacts.publishing import read_json
from retune.checkpoints.checkpoint_files import find_checkpoints
from slurm_cluster import Cluster
from versioned_run import BIN, SMALL, VersionedRun, make_small_run

PATIENCE_S = 240
# After which nothing is left of a job that was queued again.
SETTLED_S = 8
PROFILE = "profiles/slurm"
CHECKPOINT = "results/finetune/checkpoint"
# Two nodes with two ranks each, which compute on CPUs.
TWO_NODES = {
    **SMALL,
    "hardware": {"accelerator": "cpu", "nodes": 2, "ranks_per_node": 2},
    "configure": {"global_batch_size": 8, "micro_batch_size": 1},
}


class ClusterRun:
    """A workspace, and the cluster that runs its jobs."""

    def __init__(self, run: VersionedRun, cluster: Cluster, **environment: str) -> None:
        """Take a workspace of which the cluster's profile is adapted already."""
        self.folder = run.folder
        self.cluster = cluster
        self.shown = ""
        self._run = run
        self._environment = {
            "PATH": f"{cluster.bin}:{BIN}:{run.environment()['PATH']}",
            **environment,
        }

    def __call__(self, *command: str, **environment: str) -> str:
        """Run a command that must succeed; return what it prints."""
        return self._run(*command, **self._environment, **environment)

    def attempt(
        self, *command: str, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command that may fail."""
        return self._run.attempt(*command, **self._environment, **environment)

    def snakemake(self, *targets: str) -> str:
        """Run on the cluster; return what is printed."""
        return self("snakemake", "--workflow-profile", PROFILE, "--", *targets)

    def start(self, *targets: str) -> subprocess.Popen[str]:
        """Start a run on the cluster."""
        return self.start_command(
            *("snakemake", "--workflow-profile", PROFILE, "--", *targets)
        )

    def start_command(self, *command: str, **environment: str) -> subprocess.Popen[str]:
        """Start a command."""
        return self._run.start(*command, **self._environment, **environment)

    def commit(self, message: str) -> str:
        """Commit everything."""
        return self._run.commit(message)

    def change(self, section: str, **settings: Any) -> None:
        """Change settings in params.yaml."""
        self._run.change(section, **settings)

    def adapt(self, change: Callable[[dict[str, Any]], object]) -> None:
        """Change the profile, as a user does for a cluster."""
        path = self.folder / PROFILE / "config.yaml"
        profile = yaml.safe_load(path.read_text())
        change(profile)
        path.write_text(yaml.safe_dump(profile))

    def put_before(self, command: str, script: str) -> None:
        """Have this run find a script of its own in place of a command."""
        own = self.folder.parent / f"{self.folder.name}-bin"
        own.mkdir(exist_ok=True)
        (own / command).write_text(f"#!/bin/sh\n{script}\n")
        (own / command).chmod(0o755)
        self._environment["PATH"] = f"{own}:{self._environment['PATH']}"

    def copy(self, target: Path, with_dvc: bool = False) -> "ClusterRun":
        """Copy the workspace; unless asked for, DVC is left out."""
        copy = self._run.copy(target)
        without = {} if with_dvc else {"RETUNE_NO_DVC": "1"}
        return ClusterRun(copy, self.cluster, **without)

    def read(self, path: str) -> Any:
        """Return what a JSON file holds."""
        return read_json(self.folder / path)

    def history(self) -> str:
        """Return step, loss and rate of each step, without what it took."""
        lines = (self.folder / "results/finetune/history.csv").read_text().splitlines()
        return "\n".join(",".join(line.split(",")[:6]) for line in lines)

    def weights(self) -> dict[str, Any]:
        """Return the hashes of the weights that were trained."""
        return self.read(f"{CHECKPOINT}/weights.json")["tensors"]

    def log(self) -> str:
        """Return the log of finetune."""
        return (self.folder / "logs/finetune.log").read_text()

    def newest_step(self) -> int:
        """Return the step of the newest checkpoint under state/, 0 without one."""
        states = [path for path in self.folder.glob("state/*") if path.is_dir()]
        found = [folder for state in states for folder in find_checkpoints(state)]
        return max((int(f.name.removeprefix("step-")) for f in found), default=0)

    def job(self) -> str:
        """Return the number of this run's job that is in the queue or running."""
        shown = self.cluster.call("squeue", "-h", "-o", "%i|%Z").splitlines()
        numbers = [line.split("|") for line in shown]
        [number] = [number for number, folder in numbers if folder == str(self.folder)]
        return number

    def state_of(self, job: str) -> str:
        """Return the state of a job."""
        return self.cluster.call("squeue", "-h", "-j", job, "-t", "all", "-o", "%T")


def make_cluster_run(folder: Path, cluster: Cluster) -> ClusterRun:
    """Return a workspace whose profile suits the cluster of the tests."""
    run = ClusterRun(make_small_run(folder, TWO_NODES), cluster)

    def change(profile: dict[str, Any]) -> None:
        # Files are on one disk, and jobs take seconds.
        profile["latency-wait"] = 5
        profile["seconds-between-status-checks"] = 1
        profile["slurm-init-seconds-before-status-checks"] = 1
        finetune = {"gres": "gpu:a100:2", "cpus_per_task": 4}
        profile["set-resources"]["finetune"] |= finetune

    run.adapt(change)
    return run


def use_one_gpu(run: ClusterRun) -> None:
    """Leave the other GPU of each node to another run."""
    run.adapt(lambda profile: profile["set-resources"]["finetune"].update(gres="gpu:1"))


def wait_until(happened: Callable[[], Any], process: subprocess.Popen[str]) -> Any:
    """Return what is true at last; the process must not end before."""
    deadline = time.monotonic() + PATIENCE_S
    while not (value := happened()):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, "it does not happen"
        time.sleep(0.1)
    return value


@contextmanager
def no_waiting_after_requeue(cluster: Cluster) -> Iterator[None]:
    """Start jobs that were queued again soon: SLURM has them wait two minutes."""
    done = threading.Event()
    seen: dict[str, float] = {}

    def release() -> None:
        while not done.wait(0.5):
            shown = cluster.call("squeue", "-h", "-t", "pending", "-o", "%i|%r")
            lines = (line.split("|") for line in shown.splitlines())
            waiting = {number for number, reason in lines if reason == "BeginTime"}
            for number in set(seen) - waiting:
                del seen[number]
            for number in waiting:
                first = seen.setdefault(number, time.monotonic())
                # The end of the earlier try must not be taken for this one's.
                if time.monotonic() > first + SETTLED_S:
                    update = ("update", f"JobId={number}", "StartTime=now")
                    cluster.call("scontrol", *update)

    thread = threading.Thread(target=release)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
