"""A run that is stopped in the middle: what has finished is recorded, and kept."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from versioned_run import (
    VersionedRun,
    find_step,
    locked_dvc,
    steps_run,
    suspend_step,
)

pytestmark = [pytest.mark.slow, pytest.mark.long]

PATIENCE_S = 180
STOPPED = (
    "tokenize"  # the step in whose middle a run is stopped; `prepare` is before it
)


@pytest.fixture
def changed(run) -> VersionedRun:
    """A finished run of which all from `prepare` on is to run again."""
    run.change("prepare", seed=7)
    return run


@contextmanager
def run_in_the_middle(run) -> Iterator[subprocess.Popen]:
    """Start a run; yield it when `prepare` has finished and `tokenize` stands still."""
    process = run.start("snakemake", "--cores", "1", STOPPED)
    try:
        suspend_step(process, STOPPED)
        yield process
    finally:
        kill_group(process)


def kill_group(process):
    """Kill a run and all that it has started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def goes_on(run):
    """Check that both tools know what has finished, and that the rest runs."""
    assert {"prepare", STOPPED} & run.stale() == {STOPPED}
    assert {"prepare", STOPPED} & run.planned() == {STOPPED}
    assert steps_run(run("snakemake", "--cores", "1", STOPPED)) == [STOPPED]
    assert {"prepare", STOPPED}.isdisjoint(run.stale() | run.planned())


def test_an_interrupted_run_goes_on_where_it_was(changed):
    with run_in_the_middle(changed) as process:
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        time.sleep(1)  # Snakemake is to hear of it before its step ends
        find_step(process, STOPPED).resume()
        shown = process.communicate(timeout=PATIENCE_S)[0]
    assert process.returncode != 0, shown
    assert "Traceback" not in shown
    goes_on(changed)


def test_a_run_asked_to_end_lets_its_step_finish(changed):
    with run_in_the_middle(changed) as process:
        process.terminate()
        find_step(process, STOPPED).resume()
        shown = process.communicate(timeout=PATIENCE_S)[0]
    assert "Traceback" not in shown
    assert {"prepare", STOPPED}.isdisjoint(changed.stale() | changed.planned())


def test_a_killed_run_goes_on_where_it_was(changed):
    with run_in_the_middle(changed):
        pass
    refused = changed.attempt("snakemake", "--cores", "1", STOPPED)
    assert refused.returncode != 0
    assert "--unlock" in refused.stdout + refused.stderr
    changed("snakemake", "--unlock")
    goes_on(changed)


def test_after_a_kill_dvc_goes_on_too(changed):
    with run_in_the_middle(changed):
        pass
    shown = changed("dvc", "repro", STOPPED)
    assert "Running stage 'prepare'" not in shown
    assert f"Running stage '{STOPPED}'" in shown
    assert {"prepare", STOPPED}.isdisjoint(changed.stale() | changed.planned())


def test_a_crashed_step_ends_the_run_which_then_goes_on(changed):
    with run_in_the_middle(changed) as process:
        find_step(process, STOPPED).kill()
        shown = process.communicate(timeout=PATIENCE_S)[0]
    assert process.returncode == 1
    assert f"✗ {STOPPED}" in shown
    goes_on(changed)


def test_what_a_killed_run_could_not_record_the_next_one_records(changed):
    with locked_dvc(changed), run_in_the_middle(changed):
        pass
    assert "prepare" in changed.stale()
    changed("snakemake", "--unlock")
    shown = changed("snakemake", "--cores", "1", STOPPED)
    assert "recorded with DVC, from an earlier run: prepare\n" in shown
    assert steps_run(shown) == [STOPPED]
    assert {"prepare", STOPPED}.isdisjoint(changed.stale() | changed.planned())
