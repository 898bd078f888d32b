"""A small real run under git and DVC, and what both tools say of it."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import yaml

from both_tools import planned, stale
from retune_workflow.manual import ROOT
from workflow_copy import copy_workflow

BIN = Path(sys.executable).parent
PATIENCE_S = 180
IDENTITY = ("-c", "user.name=tests", "-c", "user.email=tests@localhost")

# Its steps take seconds; it reads a file of the user's, texts.jsonl.
SMALL = {
    "dataset": "texts.jsonl",
    "model": {
        "source": "builtin",
        "vocab_size": 300,
        "n_positions": 32,
        "n_embd": 16,
        "n_layer": 1,
        "n_head": 2,
    },
    "hardware": {"accelerator": "cpu", "ranks_per_node": 1},
    "prepare": {"validation_share": 0.1, "test_share": 0.1, "overlap_words": 0},
    "tokenize": {"sequence_length": 16},
    "configure": {"global_batch_size": 4, "micro_batch_size": 4},
    "finetune": {"max_steps": 4, "learning_rate": 0.001},
    "consolidate": {"max_shard_size_gb": 5},
    "sample": {"prompts": ["Red is"], "max_new_tokens": 2},
}
WORDS = ["red", "green", "blue", "one", "two", "three", "up", "down", "left", "right"]


@dataclass(frozen=True)
class VersionedRun:
    """A workspace; its commands may not leave this machine.

    Attributes:
        folder: The workspace, a git repository with DVC in it.
        calls: A file that lists who called another machine; it should not be there.
    """

    folder: Path
    calls: Path

    def __call__(self, *command: str, **environment: str) -> str:
        """Run a command that must succeed; return what it prints."""
        result = self.attempt(*command, **environment)
        shown = result.stdout + result.stderr
        assert result.returncode == 0, f"{command}\n{shown}"
        return shown

    def attempt(
        self, *command: str, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command that may fail."""
        return subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment(**environment),
            capture_output=True,
            text=True,
            check=False,
        )

    def start(self, *command: str, **environment: str) -> subprocess.Popen[str]:
        """Start a command in a process group of its own."""
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=self.environment(**environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            # As in a terminal: what a shell starts in the background ignores SIGINT,
            # and so would all that these tests start.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )

    def environment(self, **more: str) -> dict[str, str]:
        """Return the environment of the commands."""
        environment = {
            **os.environ,
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT / "tests/network_guard"),
            "NETWORK_GUARD_LOG": str(self.calls),
            "GIT_CONFIG_GLOBAL": os.devnull,
            "DVC_NO_ANALYTICS": "1",
            "COLUMNS": "200",
            **more,
        }
        if "RETUNE_NO_DVC" not in more:
            environment.pop("RETUNE_NO_DVC", None)
        return environment

    def train(self, *options: str, **environment: str) -> str:
        """Run the main job."""
        # One core: another test uses the other one.
        return self("snakemake", "--cores", "1", *options, "train", **environment)

    def planned(self, *options: str) -> set[str]:
        """Return the steps that a dry run of the main job would run."""
        return planned(self.folder, self.environment(), *options)

    def stale(self) -> set[str]:
        """Return the steps that DVC finds stale, and what follows them."""
        return stale(self.folder, self.environment())

    def is_quiet(self) -> bool:
        """Return whether both tools say that there is nothing to do."""
        return self.planned() == set() == self.stale()

    def page_is_of_results(self) -> bool:
        """Return whether the page tells what metrics/evaluation.json does."""
        test = self.read("metrics/evaluation.json")["test"]
        ends = (test[f"bits_per_byte_change_{end}"] for end in ("low", "high"))
        interval = " to ".join(f"{end:+.3f}" for end in ends)
        page = (self.folder / "report.html").read_text(encoding="utf-8")
        return interval.replace("-", "\N{MINUS SIGN}") in page

    def git(self, *arguments: str) -> str:
        """Run git."""
        return self("git", *IDENTITY, *arguments)

    def commit(self, message: str) -> str:
        """Commit everything; return the commit."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)
        return self.git("rev-parse", "HEAD").strip()

    def read(self, path: str) -> Any:
        """Return what a JSON file holds."""
        return json.loads((self.folder / path).read_text())

    def bytes_of(self, path: str) -> bytes:
        """Return a file's bytes."""
        return (self.folder / path).read_bytes()

    def lock(self) -> dict[str, Any]:
        """Return the stages of dvc.lock."""
        text = (self.folder / "dvc.lock").read_text()
        return yaml.safe_load(text)["stages"]

    def change(self, section: str, **settings: Any) -> None:
        """Change settings in params.yaml."""
        path = self.folder / "params.yaml"
        params = yaml.safe_load(path.read_text())
        params[section] = params.get(section, {}) | settings
        path.write_text(yaml.safe_dump(params, sort_keys=False))

    def copy(self, target: Path) -> "VersionedRun":
        """Copy the whole workspace, with its times and links."""
        subprocess.run(["cp", "-a", self.folder, target], check=True)
        return VersionedRun(target, self.calls)


def steps_run(shown: str) -> list[str]:
    """Return the steps that a run says it has finished."""
    return [line.split()[1] for line in shown.splitlines() if line.startswith("✓")]


def make_small_run(folder: Path, params: dict[str, Any]) -> VersionedRun:
    """Return a workspace under git and DVC with texts.jsonl and these settings."""
    run = VersionedRun(copy_workflow(folder), folder.parent / "calls")
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    write_texts(folder / "texts.jsonl")
    run.git("init", "--quiet")
    run("dvc", "remote", "add", "--default", "local", str(folder.parent / "remote"))
    run.commit("start")
    return run


def write_texts(path: Path) -> None:
    """Write the user's file."""
    with path.open("w") as file:
        for i in range(60):
            words = [WORDS[(i * j + j) % 10] for j in range(8 + i % 7)]
            file.write(json.dumps({"text": " ".join([f"Text {i}:", *words])}) + "\n")


def suspend_step(run: subprocess.Popen[str], step: str) -> psutil.Process:
    """Wait until a run is at a step; return its process, which stands still."""
    end = time.monotonic() + PATIENCE_S
    while (process := find_step(run, step)) is None or not catches_sigterm(process):
        assert run.poll() is None, run.communicate()[0]
        assert time.monotonic() < end
        time.sleep(0.1)
    process.suspend()
    return process


def catches_sigterm(process: psutil.Process) -> bool:
    """Return whether a program, and not only its interpreter, has begun."""
    with suppress(FileNotFoundError):
        status = Path(f"/proc/{process.pid}/status").read_text()
        caught = int(status.split("SigCgt:")[1].split()[0], 16)
        return bool(caught >> (signal.SIGTERM - 1) & 1)
    return False


def find_step(run: subprocess.Popen[str], step: str) -> psutil.Process | None:
    """Return the process of a step that a run is at, None if it is not."""
    with suppress(psutil.NoSuchProcess):
        for child in psutil.Process(run.pid).children(recursive=True):
            if child.cmdline()[1:4] == ["-m", "retune", step]:
                return child
    return None


@contextmanager
def locked_dvc(run: VersionedRun) -> Iterator[None]:
    """Hold DVC's lock, as `dvc push` does in another terminal, for hours."""
    with (run.folder / ".dvc/tmp/lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the stages of a dvc.yaml."""
    content = yaml.safe_load(path.read_text())
    change(content["stages"])
    path.write_text(yaml.safe_dump(content, sort_keys=False))
