"""Runs work in forked processes: each is clean, and none imports anything again."""

import ctypes
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

PR_SET_PDEATHSIG = 1  # <linux/prctl.h>
POLL_S = 0.05
# Of an error that is shown.
MOST_CHARACTERS = 300


class ForkedError(Exception):
    """Why forked work has no result, in one line."""


def run_forked(
    work: Callable[[], dict[str, Any]], answer: Path, seconds: float
) -> dict[str, Any]:
    """Return what work() returns, computed in a forked process.

    Args:
        work: What to do; all that it leaves behind is its result, which is JSON.
        answer: File for the result. Work may leave it there itself and never return.
        seconds: Time after which the process is killed.

    Raises:
        ForkedError: If it fails, or takes longer.
    """
    answer.unlink(missing_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    parent = os.getpid()
    if (pid := os.fork()) == 0:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
        answer_with(work, answer)
    code = wait_for(pid, seconds)
    if code is None:
        raise ForkedError(f"not done within {seconds:.0f} s")
    if not answer.exists():
        raise ForkedError(f"ended with exit code {code}")
    result = json.loads(answer.read_text())
    if "error" in result:
        raise ForkedError(result["error"])
    return result


def answer_with(work: Callable[[], dict[str, Any]], answer: Path) -> None:
    """Do the work, write its result or its error, and end this process."""
    try:
        result = work()
    except BaseException as error:
        traceback.print_exc()
        said = (str(error) or "no message").splitlines()[0][:MOST_CHARACTERS]
        result = {"error": f"{type(error).__name__}: {said}"}
    part = answer.with_suffix(".part")
    part.write_text(json.dumps(result))
    part.rename(answer)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def wait_for(pid: int, seconds: float) -> int | None:
    """Return the exit code of a child; kill it after some time, and return None."""
    deadline = time.monotonic() + seconds
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return None
        time.sleep(POLL_S)
