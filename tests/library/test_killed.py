"""A run that is killed again and again ends bit for bit as the undisturbed one."""

import os
import random
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest

from fault_points import FATAL
from retune.artifacts.publishing import read_json
from retune.checkpoints.checkpoint_files import find_checkpoints, find_damage
from retune.measuring.history import STARTED, read_history, validations_in
from tiny_run import TinyRun
from training_ranks import Job, forked_ranks

# Seconds in which processes must begin, and in which they must be gone.
STARTING = 120
SOON = 20


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    run = TinyRun(tmp_path_factory.mktemp("killed"))
    run.make_inputs()  # with dropout: resuming must restore its random numbers
    return run


def newest_step(state):
    """Return the step of the newest checkpoint, 0 if there is none."""
    steps = [int(folder.name.removeprefix("step-")) for folder in checkpoints_of(state)]
    return max(steps, default=0)


def checkpoints_of(state):
    """Return the published checkpoints, all of which must be whole."""
    folders = find_checkpoints(state)
    assert [find_damage(folder) for folder in folders] == [None] * len(folders)
    return folders


def bytes_of(checkpoint):
    """Return the hash of each file: weights, optimizer states and counters."""
    files = read_json(checkpoint / "manifest.json")["files"]
    return {file["path"]: file["sha256"] for file in files}


# A chain: each try dies at the next point. Where files are published does not depend on
# the strategy; how shards are written does.
OF_SHARDS = ("between shards", "half a shard", "while hashing", "before the rename")
CHAINS = {
    "ZeRO-2": (tuple(FATAL), {"zero_stage": 2}),
    "ZeRO-3-bf16": (OF_SHARDS, {"zero_stage": 3, "precision": "bf16"}),
    "pipeline": (OF_SHARDS, {"pipeline_stages": 2}),
}
# Every second step has a checkpoint and a validation.
OFTEN = {
    **{"epochs": 50, "learning_rate": 1e-2, "eval_steps": 2},
    **{"save_steps": 2, "save_total_limit": 2},
}
# The other points are those of rank 0, which publishes.
ON_RANK_1 = {"before a save", "between shards", "while hashing", "at a validation"}


def steps_of(points):
    """Return the step of each point: two after the last; both of the end's together."""
    steps = [2 * number + 4 for number in range(len(points))]
    return [*steps[:-1], steps[-2]] if points[-1] == "after everything" else steps


@pytest.mark.long
@pytest.mark.parametrize("name", CHAINS)
def test_nothing_is_lost_wherever_a_rank_is_killed(run, name):
    points, strategy = CHAINS[name]
    steps = steps_of(points)
    settings = {**OFTEN, "max_steps": steps[-1]}
    plan = run.plan(f"plan-{name}", **strategy)
    whole = Job(plan, run.folder / "whole" / name, settings)
    state = run.folder / "chained" / name
    with forked_ranks() as ranks:
        outcome = ranks.train(run.folder, [whole])
        assert outcome.codes == [0, 0], outcome.output
        for point, step in zip(points, steps, strict=True):
            before = newest_step(state)
            fault = {"name": point, "rank": int(point in ON_RANK_1), "step": step}
            start = time.monotonic()
            outcome = ranks.train(run.folder, [Job(plan, state, settings, fault)])
            told = f"{point} at step {step}: {outcome.output}"
            assert outcome.codes[fault["rank"]] == -signal.SIGKILL, told
            assert read_json(state / STARTED)["step"] == before, told
            assert step - 4 <= newest_step(state) <= step, told
            print(
                f"{point}: step {step}, resumed at {before}, newest"
                f" {newest_step(state)}, {time.monotonic() - start:.1f} s"
            )
        if points[-1] == "after everything":
            assert newest_step(state) == steps[-1]
        chained = Job(plan, state, settings)
        outcome = ranks.train(run.folder, [chained])
        assert outcome.codes == [0, 0], outcome.output
    assert chained.losses == whole.losses
    assert len(chained.losses) == steps[-1]
    assert validations(chained) == validations(whole)
    assert chained.weights == whole.weights
    assert bytes_of(chained.checkpoint) == bytes_of(whole.checkpoint)
    assert len(checkpoints_of(state)) == len(find_checkpoints(whole.state))


def validations(job):
    """Return step and loss of each validation."""
    rows = validations_in(read_history(job.state))
    return [(row.step, row.validation_loss) for row in rows]


# A run of the real step, which is killed at random.
SEED = 1
KILLS = 10
LONG = {"max_steps": 200, "epochs": 1000, "learning_rate": 1e-2, "eval_steps": 100}
LONG |= {"save_steps": 5}
# Most steps that a try is left to take.
LEFT_ALONE = 12


def start(command, log):
    """Start the step in a process of its own."""
    with log.open("w") as file:
        return subprocess.Popen(command, stderr=file, start_new_session=True)


def ranks_of(state):
    """Return the numbers of the processes that train into a state folder."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (folder / "cmdline").read_bytes().split(b"\0")
            if b"retune.training.rank" in words and str(state).encode() in words:
                found.append(int(folder.name))
    return sorted(found)


def started_state(parent):
    """Wait until the ranks have begun; return the folder of their run."""
    deadline = time.monotonic() + STARTING
    while not (found := list(parent.glob(f"*/{STARTED}"))):
        assert time.monotonic() < deadline, "it does not begin"
        time.sleep(0.01)
    return found[0].parent


def wait_for_step(state, step):
    """Wait until the ranks have taken a step."""
    deadline = time.monotonic() + STARTING
    while max((r.step for r in read_history(state)), default=0) < step:
        assert time.monotonic() < deadline, f"step {step} does not come"
        time.sleep(0.005)


def kill(process, state, victims):
    """Kill the step, all its processes or one rank; wait until all have gone."""
    ranks = ranks_of(state)
    assert len(ranks) == 2
    pids = {
        "the step": [process.pid],
        "all": [process.pid, *ranks],
        "a rank": [ranks[1]],
    }[victims]
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    code = process.wait(timeout=SOON)
    assert code == (1 if victims == "a rank" else -signal.SIGKILL)
    deadline = time.monotonic() + SOON
    while ranks_of(state):
        assert time.monotonic() < deadline, "ranks outlive the step"
        time.sleep(0.05)


@pytest.mark.long
def test_a_run_that_is_killed_at_random_ends_as_the_undisturbed_one(run):
    chance = random.Random(SEED)
    plan = run.plan("plan-random", zero_stage=2)
    undisturbed = run.finetune(plan, "undisturbed", **LONG)
    command = run.finetune_command(plan, "killed", **LONG)
    log = run.folder / "killed.log"
    resumed_at, state = [], None
    for number in range(KILLS):
        before = newest_step(state) if state else 0
        left_alone = min(chance.randint(0, LEFT_ALONE), LONG["max_steps"] - before - 5)
        victims = chance.choice(["the step", "all", "a rank"])
        if state:
            (state / STARTED).unlink(missing_ok=True)
        process = start(command, log)
        try:
            state = started_state(run.state_of("killed"))
            assert read_json(state / STARTED)["step"] == before
            wait_for_step(state, before + left_alone)
            time.sleep(chance.uniform(0, 0.1))
            assert process.poll() is None, "it ended by itself"
            kill(process, state, victims)
            assert newest_step(state) >= before
        except BaseException:
            print(f"kill {number} of {victims}, {left_alone} steps after {before}")
            print(f"seed {SEED}", log.read_text(), sep="\n")
            raise
        finally:
            if process.poll() is None:  # its ranks end with it
                process.kill()
                process.wait()
        resumed_at.append(before)
    print(f"resumed at steps {resumed_at}")
    assert len(set(resumed_at)) > KILLS // 3, resumed_at

    before = newest_step(state)
    resumed = run.finetune(plan, "killed", **LONG)
    metrics = read_json(resumed.folder / "metrics.json")
    assert metrics["resumed_from_step"] == before
    assert metrics["steps"] == LONG["max_steps"]
    assert resumed.losses == undisturbed.losses
    assert resumed.weights == undisturbed.weights
    last, other = (tuned.folder / "checkpoint" for tuned in (resumed, undisturbed))
    assert bytes_of(last) == bytes_of(other)
