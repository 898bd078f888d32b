"""A run that is stopped in the middle: what has finished is recorded, and kept."""

import os
import signal
import time
from contextlib import suppress

import psutil
import pytest
import zc.lockfile

from versioned_run import VersionedRun, steps_run

pytestmark = pytest.mark.slow

PATIENCE_S = 180


@pytest.fixture
def changed(run) -> VersionedRun:
    """A finished run of which consolidate, evaluate and report are to run again."""
    run.change("consolidate", max_shard_size_gb=4)
    return run


def start_until_evaluate_runs(run):
    """Start the main job; return its process once `consolidate` has finished."""
    process = run.start("snakemake", "--cores", "1", "train")
    end = time.monotonic() + PATIENCE_S
    while not step_process(process, "evaluate"):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < end
        time.sleep(0.05)
    return process


def step_process(process, step):
    """Return the process of a step that a Snakemake runs, if it runs now."""
    try:
        children = psutil.Process(process.pid).children(recursive=True)
        return next(
            (c for c in children if c.cmdline()[1:4] == ["-m", "retune", step]), None
        )
    except psutil.NoSuchProcess:
        return None


def end_group(process):
    """End whatever a killed Snakemake has left running."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def goes_on(run):
    """Check that both tools know what has finished, and that the rest runs."""
    assert run.stale() == {"evaluate", "report"}
    assert run.planned() == {"evaluate", "report"}
    shown = run.train()
    assert steps_run(shown) == ["evaluate", "report"]
    assert run.is_quiet()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_was_asked_to_stop_goes_on_where_it_was(changed, number):
    process = start_until_evaluate_runs(changed)
    try:
        process.send_signal(number)
        shown = process.communicate(timeout=PATIENCE_S)[0]
    finally:
        end_group(process)
    assert "Traceback" not in shown
    if number == signal.SIGTERM:  # Snakemake lets the running step finish
        assert changed.stale() == {"report"}
    else:
        goes_on(changed)


def test_a_killed_run_goes_on_where_it_was(changed):
    process = start_until_evaluate_runs(changed)
    end_group(process)
    process.communicate()
    refused = changed.attempt("snakemake", "--cores", "all", "train")
    assert refused.returncode != 0
    assert "--unlock" in refused.stdout + refused.stderr
    changed("snakemake", "--unlock")
    goes_on(changed)


def test_a_killed_step_ends_the_run_which_then_goes_on(changed):
    process = start_until_evaluate_runs(changed)
    step_process(process, "evaluate").kill()
    shown = process.communicate(timeout=PATIENCE_S)[0]
    assert process.returncode == 1
    assert "✗ evaluate" in shown
    goes_on(changed)


def test_what_a_killed_run_could_not_record_the_next_one_records(changed):
    lock = zc.lockfile.LockFile(str(changed.folder / ".dvc/tmp/lock"))
    try:
        process = start_until_evaluate_runs(changed)
        end_group(process)
        process.communicate()
    finally:
        lock.close()
    assert "consolidate" in changed.stale()
    changed("snakemake", "--unlock")
    shown = changed.train()
    assert "recorded with DVC, from an earlier run: consolidate\n" in shown
    assert steps_run(shown) == ["evaluate", "report"]
    assert changed.is_quiet()
