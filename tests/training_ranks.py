"""Real ranks that train several runs one after the other: a start takes seconds.

As a module: start the ranks. As a program: one rank, or with no arguments a process
that has imported all that ranks need and forks them.
"""

import gc
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retune.artifacts.plan import Plan
from retune.artifacts.publishing import read_json
from retune.artifacts.run_spec import RunSpec
from retune.checkpoints.checkpoint_files import find_checkpoints
from retune.imports import without_garbage_collection
from retune.launching.compiled_operators import build_ops
from retune.measuring.history import StepRow, read_history, steps_in
from retune.settings import FinetuneSettings
from retune.training.rank import leave

TIMEOUT_S = 600
# How long the others may take to end, once a rank has failed.
GRACE_S = 3.0


@dataclass(frozen=True)
class Job:
    """One training.

    Attributes:
        plan: Folder of a plan for as many ranks as train.
        state: Where checkpoints and history go.
        settings: Of `finetune`.
        fault: What goes wrong, see fault_points.py.
        inputs: Where base and tokens are, if not where those of all jobs are.
        nvme_path: Folder for what is offloaded to NVMe.
    """

    plan: Path
    state: Path
    settings: dict[str, Any]
    fault: dict[str, Any] | None = None
    inputs: Path | None = None
    nvme_path: str = ""

    @property
    def steps(self) -> list[StepRow]:
        """The steps of the history."""
        return steps_in(read_history(self.state))

    @property
    def losses(self) -> list[float | None]:
        """Training loss of each step."""
        return [row.train_loss for row in self.steps]

    @property
    def weights(self) -> dict[str, Any]:
        """Hashes of the live weights at the end."""
        return read_json(self.checkpoint / "weights.json")["tensors"]

    @property
    def checkpoint(self) -> Path:
        """The last one."""
        return find_checkpoints(self.state)[-1]


def train_all(
    folder: Path, jobs: list[Job], ranks: int, program: str = __file__
) -> None:
    """Train the jobs in turn, all on the same `ranks` processes.

    Args:
        folder: Where base and tokens are.
        jobs: All with plans for so many ranks.
        ranks: Number of processes.
        program: What each rank runs, with the arguments of this file.
    """
    for job in jobs:
        build_ops(Plan.read(job.plan / "plan.json"))
    environment = {
        **environment_of_ranks(),
        "MASTER_PORT": str(free_port()),
        "WORLD_SIZE": str(ranks),
    }
    # A file: a pipe that is full would hold a rank up, and with it the others.
    with tempfile.TemporaryFile("w+") as output:
        processes = [
            subprocess.Popen(
                [sys.executable, program, str(folder), describe(jobs)],
                env={**environment, "RANK": str(rank), "LOCAL_RANK": str(rank)},
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            for rank in range(ranks)
        ]
        try:
            codes = [process.wait(timeout=TIMEOUT_S) for process in processes]
        finally:
            for process in processes:
                process.kill()
                process.wait()
        output.seek(0)
        assert codes == [0] * ranks, output.read()[-8000:]


def environment_of_ranks() -> dict[str, str]:
    """Return what all ranks have in common."""
    workflow = Path(__file__).parents[1] / "workflow"
    return {
        **os.environ,
        "PYTHONPATH": f"{workflow}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
        "DS_ACCELERATOR": "cpu",
        "OMP_NUM_THREADS": "1",
        "MASTER_ADDR": "127.0.0.1",
        "GLOO_SOCKET_IFNAME": "lo",
    }


def free_port() -> int:
    """Return a port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def describe(jobs: list[Job]) -> str:
    """Return the jobs as JSON, as `main` takes them."""
    return json.dumps([vars(job) for job in jobs], default=str)


@dataclass(frozen=True)
class Outcome:
    """How ranks ended.

    Attributes:
        codes: Exit code of each rank; minus the signal that ended it.
        output: What they printed.
    """

    codes: list[int]
    output: str


class ForkedRanks:
    """Starts ranks in a second or two, for tests in which they must end often."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        """Use a process that forks them."""
        self._process = process

    def train(self, folder: Path, jobs: list[Job], ranks: int = 2) -> Outcome:
        """Train the jobs in turn on new ranks; return how these ended.

        When one fails, the others are ended soon.
        """
        request = {"folder": str(folder), "jobs": describe(jobs), "ranks": ranks}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, "the process that forks ranks has ended"
        output = (folder / OUTPUT).read_text(errors="replace")
        return Outcome(json.loads(answer), output)


# Of the ranks that were forked last.
OUTPUT = "output-of-ranks"


@contextmanager
def forked_ranks() -> Iterator[ForkedRanks]:
    """Yield what starts ranks; it is gone afterwards."""
    process = subprocess.Popen(
        [sys.executable, __file__],
        env=environment_of_ranks(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield ForkedRanks(process)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def serve() -> None:
    """Fork ranks as asked for on stdin; answer with their exit codes on stdout."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    with without_garbage_collection():
        import retune.training.loop  # noqa: F401

    for line in sys.stdin:
        request = json.loads(line)
        folder = Path(request["folder"])
        (folder / OUTPUT).unlink(missing_ok=True)
        environment = {
            "MASTER_PORT": str(free_port()),
            "WORLD_SIZE": str(request["ranks"]),
        }
        pids = []
        for rank in range(request["ranks"]):
            numbers = {"RANK": str(rank), "LOCAL_RANK": str(rank)}
            if (pid := os.fork()) == 0:
                os.environ.update(environment | numbers)
                be_forked(folder, json.loads(request["jobs"]))
            pids.append(pid)
        answers.write(json.dumps(wait_for(pids)) + "\n")
        answers.flush()


def be_forked(folder: Path, jobs: list[dict[str, Any]]) -> None:
    """Be one rank and leave, whatever happens."""
    code = 1
    try:
        file = os.open(folder / OUTPUT, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for stream in (1, 2):
            os.dup2(file, stream)
        main(folder, jobs)
        code = 0
    except Exception:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def wait_for(pids: list[int]) -> list[int]:
    """Return the exit codes of child processes; kill those that outlive a failure."""
    codes: dict[int, int] = {}
    deadline = time.monotonic() + TIMEOUT_S
    while len(codes) < len(pids):
        for pid in set(pids) - set(codes):
            if time.monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                codes[pid] = os.waitstatus_to_exitcode(status)
                if codes[pid]:
                    deadline = min(deadline, time.monotonic() + GRACE_S)
        time.sleep(0.02)
    return [codes[pid] for pid in pids]


def main(folder: Path, jobs: list[dict[str, Any]]) -> None:
    """Be one rank."""
    with without_garbage_collection():
        import torch

        import fault_points
        from retune.supervision.heartbeat import Heartbeat
        from retune.supervision.stopping import StopRequest
        from retune.training.loop import train

    for job in jobs:
        state = Path(job["state"])
        state.mkdir(parents=True, exist_ok=True)
        inputs = Path(job["inputs"] or folder)
        with fault_points.installed(job["fault"]):
            run = RunSpec.make(
                FinetuneSettings(**job["settings"]),
                inputs / "base",
                inputs / "tokens",
                Path(job["plan"]),
                job["nvme_path"],
            )
            heartbeat = Heartbeat(state, int(os.environ["RANK"]))
            finished = train(run, state, StopRequest(), heartbeat)
        assert finished
        # PyTorch compiles a function only so often for one process.
        torch.compiler.reset()
        gc.collect()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]), json.loads(sys.argv[2]))
        leave(0)
    else:
        serve()
