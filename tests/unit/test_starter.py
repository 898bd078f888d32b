"""A process ends with what started it: real processes, killed by SIGKILL."""

import os
import signal
import subprocess
import sys
import time

import pytest

from retune.supervision.starter import GONE, STARTED_BY, Starter
from retune.supervision.stopping import StopRequest

SOON_S = 20
# A step that says when it is ready, and how it ends.
STEP = """
import signal, sys, time
from retune.supervision.starter import GONE, end_with_starter
signal.signal(GONE, lambda *_: sys.exit(7))
end_with_starter()
try:
    print("ready", flush=True)
    time.sleep(60)
    print("at its end", flush=True)
finally:
    print("tidied up", flush=True)
"""


@pytest.fixture
def sleeper():
    """A process that may be killed."""
    process = subprocess.Popen(["sleep", "100"])
    yield process
    process.kill()
    process.wait()


def start(started_by, *shell):
    """Start the step, below a shell if one is given; return it when it is ready."""
    process = subprocess.Popen(
        [*shell, sys.executable, "-c", STEP],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(sys.path),
            STARTED_BY: started_by,
        },
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    return process


def test_a_step_ends_with_what_started_it(sleeper):
    step = start(str(sleeper.pid))
    sleeper.kill()  # and nobody waits for it: a zombie has ended, too
    assert step.communicate(timeout=SOON_S)[0] == "tidied up\n"
    assert step.returncode == 7


def test_a_step_ends_with_the_shell_between():
    shell = start("", "bash", "-c", f'export {STARTED_BY}=$$; "$@"; true', "bash")
    shell.kill()
    # The pipe is open until the step has ended.
    assert shell.communicate(timeout=SOON_S)[0] == "tidied up\n"


def test_a_step_that_is_started_by_hand_outlives_its_shell():
    shell = start("", "bash", "-c", '"$@"; true', "bash")
    [step] = children_of(shell.pid)
    shell.kill()
    shell.wait()
    time.sleep(3)
    os.kill(step, GONE)  # it is there still
    assert shell.stdout.read() == "tidied up\n"


def children_of(pid):
    found = subprocess.run(
        ["pgrep", "-P", str(pid)], capture_output=True, text=True, check=True
    )
    return [int(word) for word in found.stdout.split()]


def test_what_ended_before_the_step_began_is_seen(sleeper):
    sleeper.kill()
    sleeper.wait()
    assert Starter(f"{os.getpid()} {sleeper.pid}").gone() == sleeper.pid


def test_nobody_is_named_and_nobody_is_gone():
    assert not Starter("")
    assert Starter("").gone() is None


def test_a_later_process_of_the_same_number_is_another(sleeper, monkeypatch):
    starter = Starter(str(sleeper.pid))
    assert starter.gone() is None
    monkeypatch.setattr(
        "retune.supervision.starter.beginning_of", lambda number: "later"
    )
    assert starter.gone() == sleeper.pid


def test_it_is_a_request_to_stop_but_never_a_second_one():
    with StopRequest() as stop:
        os.kill(os.getpid(), GONE)
        os.kill(os.getpid(), GONE)
    assert stop.received == [signal.SIGTERM]
    with StopRequest() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), GONE)
    assert stop.received == [signal.SIGINT]
