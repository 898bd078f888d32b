"""Real ranks that train several runs one after the other: a start takes seconds.

As a module: start the ranks. As a program: one rank.
"""

import gc
import json
import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retune.publishing import read_json
from retune.settings import FinetuneSettings
from retune.training.checkpoint_files import find_checkpoints
from retune.training.history import read_history

TIMEOUT_S = 600


@dataclass(frozen=True)
class Job:
    """One training.

    Attributes:
        plan: Folder of a plan for as many ranks as train.
        state: Where checkpoints and history go.
        settings: Of `finetune`.
    """

    plan: Path
    state: Path
    settings: dict[str, Any]

    @property
    def records(self) -> list[dict[str, Any]]:
        """The history's lines of steps."""
        return [r for r in read_history(self.state) if "train_loss" in r]

    @property
    def losses(self) -> list[float]:
        """Training loss of each step."""
        return [record["train_loss"] for record in self.records]

    @property
    def weights(self) -> dict[str, Any]:
        """Hashes of the live weights at the end."""
        return read_json(self.checkpoint / "weights.json")["tensors"]

    @property
    def checkpoint(self) -> Path:
        """The last one."""
        return find_checkpoints(self.state)[-1]


def train_all(folder: Path, jobs: list[Job], ranks: int) -> None:
    """Train the jobs in turn, all on the same `ranks` processes.

    Args:
        folder: Where base and tokens are.
        jobs: All with plans for so many ranks.
        ranks: Number of processes.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    described = [
        {"plan": str(job.plan), "state": str(job.state), "settings": job.settings}
        for job in jobs
    ]
    workflow = Path(__file__).parents[1] / "workflow"
    environment = {
        **os.environ,
        "PYTHONPATH": f"{workflow}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
        "DS_ACCELERATOR": "cpu",
        "OMP_NUM_THREADS": "1",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "GLOO_SOCKET_IFNAME": "lo",
        "WORLD_SIZE": str(ranks),
    }
    processes = [
        subprocess.Popen(
            [sys.executable, __file__, str(folder), json.dumps(described)],
            env={**environment, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(ranks)
    ]
    try:
        outputs = [process.communicate(timeout=TIMEOUT_S)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    codes = [process.returncode for process in processes]
    assert codes == [0] * ranks, "\n".join(outputs)[-8000:]


def main(folder: Path, jobs: list[dict[str, Any]]) -> None:
    """Be one rank."""
    from retune.training.heartbeat import Heartbeat
    from retune.training.loop import train
    from retune.training.stopping import StopRequest

    for job in jobs:
        state = Path(job["state"])
        state.mkdir(parents=True, exist_ok=True)
        finished = train(
            FinetuneSettings(**job["settings"]),
            folder / "base",
            folder / "tokens",
            Path(job["plan"]),
            state,
            StopRequest(),
            Heartbeat(state, int(os.environ["RANK"])),
        )
        assert finished
        gc.collect()


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(sys.argv[2]))
