"""Runs DVC's commands in processes forked from one that has loaded DVC already.

A step is recorded by `dvc commit`, which takes half a second, and two thirds of that
are for loading DVC. The next step waits for it.

As a program, `python -m retune_dvc.dvc_process`: reads requests from stdin, a line of
JSON each, and answers each with a line on stdout, until stdin ends.
"""

import json
import os
import subprocess
import sys
import threading
import traceback
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

from retune.imports import without_garbage_collection
from retune_dvc.dvc_internals import load_commands, run_command

LIBRARY = Path(__file__).parents[1]


@dataclass(frozen=True)
class Request:
    """A command of DVC.

    Attributes:
        arguments: Words of the command line after `dvc`.
        folder: Working directory.
        environment: All variables.
    """

    arguments: Sequence[str]
    folder: str
    environment: dict[str, str]


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes:
        code: Exit code; minus the number of the signal that ended it.
        output: What it wrote to stdout.
        errors: What it wrote to stderr.
    """

    code: int
    output: str
    errors: str


class DvcProcess:
    """The process that has loaded DVC; it starts with the first command."""

    def __init__(self) -> None:
        """Start nothing yet."""
        self._process: subprocess.Popen[str] | None = None
        # An answer is that of the request before it.
        self._one_at_a_time = threading.Lock()

    def run(self, request: Request) -> Ended | None:
        """Run a command to its end; return None if this process cannot run any.

        Ctrl-C is Snakemake's: DVC, cut short, could leave an output half moved. So the
        command ends first.
        """
        with self._one_at_a_time:
            try:
                answer = self._ask(json.dumps(asdict(request)))
            except OSError:
                answer = ""
            except BaseException:
                self.end()
                raise
            if not answer.endswith("\n"):  # The process has gone.
                self.end()
                return None
            return Ended(**json.loads(answer))

    def _ask(self, request: str) -> str:
        """Return the answer to a request, both as JSON; empty if there is none."""
        process = self._process = self._process or start()
        assert process.stdin
        assert process.stdout
        process.stdin.write(request + "\n")
        process.stdin.flush()
        return process.stdout.readline()

    def end(self) -> None:
        """Wait until the command and the process have ended."""
        process, self._process = self._process, None
        if process:
            with suppress(OSError):
                process.communicate()


def start() -> subprocess.Popen[str]:
    """Start the process; it ends when this one has ended."""
    # It loads this library, which need not be the installed one. With -P, no module of
    # the run's folder takes the place of another.
    library = [str(LIBRARY), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    path = os.pathsep.join(filter(None, library))
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "retune_dvc.dvc_process"],
        env={**os.environ, "PYTHONPATH": path},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )


def serve() -> None:
    """Run the commands that come on stdin, one after the other."""
    with without_garbage_collection():
        load_commands()
    for line in sys.stdin:
        ended = run_forked(Request(**json.loads(line)))
        print(json.dumps(asdict(ended)), flush=True)


def run_forked(request: Request) -> Ended:
    """Run a command in a process of its own."""
    with open_file() as output, open_file() as errors:
        if (pid := os.fork()) == 0:
            be_command(request, output, errors)
        _, status = os.waitpid(pid, 0)
        output.seek(0)
        errors.seek(0)
        code = os.waitstatus_to_exitcode(status)
        return Ended(code, output.read(), errors.read())


def open_file() -> IO[str]:
    """Open a file for what a command writes; it is gone when it is closed."""
    return TemporaryFile("w+", encoding="utf-8", errors="replace")


def be_command(request: Request, output: IO[str], errors: IO[str]) -> None:
    """Become the command, and end with it."""
    code = 1
    try:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(output.fileno(), 1)
        os.dup2(errors.fileno(), 2)
        os.chdir(request.folder)
        os.environ.clear()
        os.environ.update(request.environment)
        code = run_command(request.arguments)
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    serve()
