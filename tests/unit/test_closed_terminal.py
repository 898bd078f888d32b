"""A terminal is closed while a step runs: a real one, of the kernel's."""

import os
import pty
import shlex
import signal
import subprocess
import sys
import threading
import time

import pytest

from retune.supervision.stopping import StopRequest

SOON_S = 20
# As a step: asked to stop, it prints and then saves.
STEP = """
import signal, sys, time
from retune.terminal.log_lines import log_lines
from retune.supervision.stopping import StopRequest

with log_lines(), StopRequest() as stop:
    print("ready", flush=True)
    while not stop.requested:
        time.sleep(0.01)
    for stream in (sys.stdout, sys.stderr):
        print("saving", file=stream, flush=True)
    open(sys.argv[1], "w").write(stop.received[0].name)
"""
# One that no signal reaches, as below `setsid`: its terminal is closed all the same.
DEAF = """
import os, signal, sys, time
from retune.terminal.log_lines import log_lines

signal.signal(signal.SIGHUP, signal.SIG_IGN)
with log_lines():
    print("ready", flush=True)
    while os.isatty(2):
        time.sleep(0.01)
    print("a", file=sys.stderr)
    print("b", file=sys.stderr)
    open(sys.argv[1], "w").write("saved")
"""


def exit_code_without_terminal(*command):
    """Start a command in a terminal, close that when it is ready; return the code."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)
        os.execv(command[0], command)
    # All of the line: one that is cut off would be an error where it is printed.
    shown = b""
    while not shown.endswith(b"\n"):
        shown += os.read(terminal, 100)
    assert shown.startswith(b"ready")
    os.close(terminal)
    killer = threading.Timer(SOON_S, os.kill, (pid, signal.SIGKILL))
    killer.start()
    _, status = os.waitpid(pid, 0)
    killer.cancel()
    return os.waitstatus_to_exitcode(status)


@pytest.mark.parametrize(("step", "saved"), [(STEP, "SIGHUP"), (DEAF, "saved")])
def test_what_is_printed_to_a_closed_terminal_keeps_no_step_from_saving(
    tmp_path, step, saved
):
    file = tmp_path / "saved"
    assert exit_code_without_terminal(sys.executable, "-c", step, str(file)) == 0
    assert file.read_text() == saved


def test_a_step_that_does_not_save_leaves_as_after_an_error(tmp_path):
    os.mkfifo(tmp_path / "params.yaml")
    paths = ("base", "clean", "documents", "metrics")
    others = " ".join(f"--{name} none" for name in paths)
    script = tmp_path / "script"
    # To open the file takes until the step reads it, which then waits for its text.
    script.write_text(
        f"cd {shlex.quote(str(tmp_path))}; (exec 3>params.yaml; echo ready; sleep 20) &"
        f" exec {shlex.quote(sys.executable)} -m retune baseline"
        f" --params params.yaml {others}"
    )
    code = exit_code_without_terminal("/bin/bash", str(script))
    assert code == 128 + signal.SIGHUP


def test_of_a_closed_terminal_one_may_hear_twice_and_after_other_signals():
    for numbers, received in (
        ([signal.SIGHUP, signal.SIGHUP], [signal.SIGHUP]),
        ([signal.SIGTERM, signal.SIGHUP], [signal.SIGTERM]),
        ([signal.SIGHUP, signal.SIGTERM], [signal.SIGHUP, signal.SIGTERM]),
    ):
        with StopRequest() as stop:
            for number in numbers:
                os.kill(os.getpid(), number)
        assert stop.received == received


def test_nohup_has_a_step_ignore_it(tmp_path):
    process = subprocess.Popen(
        ["nohup", sys.executable, "-c", STEP, str(tmp_path / "saved")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGHUP)
    time.sleep(0.5)
    assert process.poll() is None
    process.terminate()
    process.communicate(timeout=SOON_S)
    assert (tmp_path / "saved").read_text() == "SIGTERM"
