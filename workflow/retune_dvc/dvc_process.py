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
import tempfile
import traceback
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import IO

from retune_dvc.dvc_internals import load_commands, run_command


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

    def run(self, request: Request) -> Ended | None:
        """Run a command to its end; return None if this process cannot run any.

        Ctrl-C is Snakemake's: DVC, cut short, could leave an output half moved. So the
        command ends first.
        """
        process = self._process = self._process or start()
        assert process.stdin
        assert process.stdout
        try:
            process.stdin.write(json.dumps(asdict(request)) + "\n")
            process.stdin.flush()
            answer = process.stdout.readline()
        except OSError:
            answer = ""
        except KeyboardInterrupt:
            self._end()
            raise
        if not answer:
            self._end()
            return None
        return Ended(**json.loads(answer))

    def _end(self) -> None:
        """Wait until the command and the process have ended."""
        process, self._process = self._process, None
        if process:
            with suppress(OSError):
                process.communicate()


def start() -> subprocess.Popen[str]:
    """Start the process; it ends when this one has ended."""
    return subprocess.Popen(
        [sys.executable, "-m", "retune_dvc.dvc_process"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )


def serve() -> None:
    """Run the commands that come on stdin, one after the other."""
    load_commands()
    for line in sys.stdin:
        ended = run_forked(Request(**json.loads(line)))
        print(json.dumps(asdict(ended)), flush=True)


def run_forked(request: Request) -> Ended:
    """Run a command in a process of its own."""
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        if (pid := os.fork()) == 0:
            be_command(request, output, errors)
        _, status = os.waitpid(pid, 0)
        output.seek(0)
        errors.seek(0)
        code = os.waitstatus_to_exitcode(status)
        return Ended(code, output.read(), errors.read())


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
