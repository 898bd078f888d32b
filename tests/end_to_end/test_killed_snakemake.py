"""Snakemake, DVC or the shell between is killed by SIGKILL: no step goes on alone."""

import json
import time

import psutil
import pytest

from retune.artifacts.publishing import read_json
from retune.checkpoints.checkpoint_files import find_checkpoints, find_damage, step_of
from retune.measuring.history import STARTED, read_history
from versioned_run import PATIENCE_S, suspend_step

pytestmark = [pytest.mark.slow, pytest.mark.long]

# Seconds in which all must have ended, after a checkpoint if they train.
SOON_S = 30


@pytest.fixture
def training(run):
    """A finished run whose training is to begin anew, and not to end by itself."""
    run.change("finetune", max_steps=10**6, epochs=10**6, eval_steps=10**6)
    run.change("finetune", save_steps=10**6)
    return run


def kill(process):
    """Kill a started command alone, and wait for its end."""
    process.kill()
    process.wait()


def tree_of(process):
    """Return a started command's processes."""
    return psutil.Process(process.pid).children(recursive=True)


def all_end(processes):
    """Return whether these processes end soon; those that do not are killed."""
    alive = psutil.wait_procs(processes, timeout=SOON_S)[1]
    for process in alive:
        process.kill()
    return not alive


def wait_for_step(process, run, step):
    """Wait until a run has trained so far; return its state folder."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        assert process.poll() is None, process.communicate()[0]
        for state in (run.folder / "state").glob("*/"):
            if any(row.step >= step for row in read_history(state)):
                return state
        time.sleep(0.1)
    raise AssertionError(f"step {step} never came")


def saved_step(state):
    """Return the step of the newest checkpoint, which must be whole."""
    newest = find_checkpoints(state)[-1]
    assert find_damage(newest) is None
    return step_of(newest)


@pytest.mark.parametrize(
    ("command", "shell"),
    [
        (("snakemake", "--cores", "1", "finetune"), "/bin/sh"),
        (("dvc", "repro", "finetune"), "/bin/sh"),
        (("dvc", "repro", "finetune"), "/bin/bash"),
    ],
    ids=["snakemake", "dvc-sh", "dvc-bash"],
)
def test_a_training_saves_and_the_next_run_goes_on(training, command, shell):
    # DVC starts Snakemake by this shell, which may or may not stay between the two.
    process = training.start(*command, SHELL=shell)
    state = wait_for_step(process, training, 20)
    below = tree_of(process)
    kill(process)
    assert all_end(below)
    saved = saved_step(state)
    assert saved >= 20
    log = (training.folder / "logs/finetune.log").read_text()
    assert f"error: stopped at step {saved} of 1000000 on SIGTERM and saved" in log

    training("snakemake", "--unlock")
    process = training.start("snakemake", "--cores", "1", "finetune")
    wait_for_step(process, training, saved + 1)
    assert read_json(state / STARTED)["step"] == saved
    kill(process)


def test_what_is_trained_to_the_end_is_taken_over(training):
    training.change("finetune", max_steps=200, save_steps=200)
    process = training.start("snakemake", "--cores", "1", "finetune")
    state = wait_for_step(process, training, 2)
    step = next(p for p in tree_of(process) if "finetune" in p.cmdline())
    # The step stands still while its rank trains to the end.
    step.suspend()
    wait_for_step(process, training, 200)
    end = time.monotonic() + PATIENCE_S
    while not find_checkpoints(state):
        assert time.monotonic() < end
        time.sleep(0.1)
    kill(process)
    step.resume()
    assert all_end([step])
    assert saved_step(state) == 200

    training("snakemake", "--unlock")
    training("snakemake", "--cores", "1", "finetune")
    metrics = json.loads((training.folder / "metrics/finetune.json").read_text())
    assert metrics["resumed_from_step"] == 200
    assert not state.exists()


def test_a_step_ends_with_snakemake_and_leaves_nothing(run):
    run.change("tokenize", sequence_length=8)
    process = run.start("snakemake", "--cores", "1", "tokenize")
    step = suspend_step(process, "tokenize")
    kill(process)
    step.resume()
    assert all_end([step])
    assert not list((run.folder / "data").glob("*tokens*"))


def test_a_step_ends_with_the_shell_that_snakemake_started(run):
    run.change("tokenize", sequence_length=8)
    process = run.start("snakemake", "--cores", "1", "tokenize")
    step = suspend_step(process, "tokenize")
    step.parent().kill()
    step.resume()
    assert all_end([step])
    shown = process.communicate(timeout=PATIENCE_S)[0]
    assert "✗ tokenize" in shown
    assert not list((run.folder / "data").glob("*tokens*"))
