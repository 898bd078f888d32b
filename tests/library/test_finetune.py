"""Real DeepSpeed ranks: same result however it is split, killed or resumed."""

import gzip
import json
import os
import signal
import subprocess
import time
from contextlib import contextmanager, suppress

import pytest

from flipped_bit import flip_a_bit
from retune.artifacts.plan import Plan
from retune.artifacts.publishing import read_json
from retune.artifacts.training_operations import TrainingOperations
from retune.checkpoints.checkpoint_files import (
    find_checkpoints,
    find_damage,
    newest_good,
)
from retune.errors import RetuneError
from retune.measuring.history import read_history
from retune.steps import finetune
from tiny_run import TinyRun

SIX_STEPS = {"max_steps": 6, "learning_rate": 1e-2, "eval_steps": 3, "save_steps": 2}
MANY_STEPS = {**SIX_STEPS, "epochs": 50, "max_steps": 120, "eval_steps": 50}
MANY_STEPS["save_steps"] = 15
TOLERANCE = 2e-5


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    run = TinyRun(tmp_path_factory.mktemp("run"))
    run.make_inputs()  # with dropout: resuming must restore random states
    return run


@pytest.fixture(scope="module")
def still(tmp_path_factory):
    """A run without dropout, so that ranks can be compared."""
    run = TinyRun(tmp_path_factory.mktemp("still"))
    run.make_inputs(resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0)
    return run


@pytest.fixture(scope="module")
def reference(still):
    return still.finetune(still.plan("zero2", zero_stage=2), "reference", **SIX_STEPS)


@pytest.mark.parametrize(
    ("name", "ranks", "settings"),
    [
        ("accumulate", 2, {"zero_stage": 2, "micro_batch_size": 1}),
        ("one-rank", 1, {"zero_stage": 1}),
        ("zero3", 2, {"zero_stage": 3, "activation_checkpointing": True}),
    ],
)
def test_losses_do_not_depend_on_the_strategy(still, reference, name, ranks, settings):
    plan = still.plan(f"plan-{name}", ranks, **settings)
    tuned = still.finetune(plan, name, **SIX_STEPS)
    assert tuned.losses == pytest.approx(reference.losses, abs=TOLERANCE)
    tuned.consolidate()


def test_the_model_learns_and_its_numbers_are_told(reference):
    assert reference.losses[-1] < reference.losses[0] - 0.5
    metrics = read_json(reference.folder / "metrics.json")
    assert metrics["steps"] == 6
    assert metrics["tokens_per_second"] > 0
    memory = zip(metrics["memory_before_gb"], metrics["peak_memory_gb"], strict=True)
    assert [0.1 < before < peak for before, peak in memory] == [True, True]


def ranks_of(state):
    """Return the processes that train into a state folder."""
    result = subprocess.run(
        ["pgrep", "-f", f"retune.training.*{state}"], capture_output=True, check=False
    )
    return result.stdout.split()


@contextmanager
def started(run, plan, name, at_step, settings):
    """Start the step; kill what is left of it and its ranks at the end."""
    command = run.finetune_command(plan, name, **settings)
    process = subprocess.Popen(
        command,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            states = [p for p in run.state_of(name).glob("*") if p.is_dir()]
            if states and any(r.step >= at_step for r in read_history(states[0])):
                break
            time.sleep(0.01)
        assert process.poll() is None, "it ended before it could be killed"
        yield process, states[0]
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_a_killed_run_resumes_bit_for_bit_past_damaged_checkpoints(run):
    plan = run.plan("plan-killed", zero_stage=2)
    undisturbed = run.finetune(plan, "undisturbed", **MANY_STEPS)
    settings = {**MANY_STEPS, "save_total_limit": 3}
    with started(run, plan, "killed", 50, settings) as (_, state):
        pass  # leaving kills all of it
    while ranks_of(state):
        time.sleep(0.1)
    older, newer, newest = find_checkpoints(state)[-3:]
    (newest / "manifest.json").write_text("{")
    flip_a_bit(newer / "mp_rank_00_model_states.pt")
    assert find_damage(newest) == "manifest.json is damaged"
    assert "has changed" in find_damage(newer)
    assert newest_good(state) == older
    # What is to be kept may change in between.
    resumed = run.finetune(plan, "killed", **MANY_STEPS, save_only_model=True)
    assert not holds_moments(resumed.folder / "checkpoint")
    assert resumed.weights == undisturbed.weights
    assert resumed.losses == undisturbed.losses
    metrics = read_json(resumed.folder / "metrics.json")
    assert metrics["resumed_from_step"] == int(older.name.removeprefix("step-"))
    assert not state.exists()


def holds_moments(checkpoint):
    return any(b"exp_avg" in path.read_bytes() for path in checkpoint.glob("*.pt"))


def test_a_damaged_best_checkpoint_is_not_published_and_nothing_is_removed(still):
    plan = still.plan("plan-best")
    best = {**SIX_STEPS, "load_best_model_at_end": True}
    state = still.folder / "best-state"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(finetune, "best_of", damage_the_first)
        with pytest.raises(
            RetuneError, match="the best checkpoint, cannot be published"
        ):
            still.finetune(plan, "best", **best)
    assert not (still.folder / "best").exists()
    (run,) = (path for path in state.iterdir() if path.is_dir())
    assert find_damage(find_checkpoints(run)[-1]) is None
    still.finetune(plan, "best", **{**best, "load_best_model_at_end": False})
    assert not list(state.glob("*"))


def damage_the_first(checkpoints):
    """Return the first checkpoint as the best, damaged."""
    flip_a_bit(checkpoints[0] / "mp_rank_00_model_states.pt")
    return checkpoints[0]


def test_the_first_failing_rank_is_named(still):
    plan = still.plan("plan-broken")
    facts, config = plan / "plan.json", plan / "deepspeed.json"
    made = Plan.read_verified(facts, config)
    config.write_text(config.read_text().replace('"stage": 2', '"stagee": 2'))
    made.write(facts, config)
    with pytest.raises(RetuneError, match=r"rank \d failed first: .*stagee"):
        still.finetune(plan, "broken", **SIX_STEPS)
    assert not (still.folder / "broken").exists()


def test_offloading_to_a_disk_needs_to_know_where_that_is(still):
    plan = still.plan("plan-nvme", zero_stage=3, offload_optimizer="nvme")
    with pytest.raises(RetuneError, match=r"nvme needs hardware\.nvme_path"):
        still.finetune(plan, "nvme", **SIX_STEPS)
    assert not (still.folder / "nvme").exists()


@pytest.mark.parametrize("steps", [1, 6])
def test_a_loss_that_is_no_number_stops_with_a_sentence(still, steps):
    plan = still.plan("plan-diverging")
    diverging = {**SIX_STEPS, "max_steps": steps, "learning_rate": 1e30}
    with pytest.raises(RetuneError, match=r"loss is (nan|inf).*learning_rate"):
        still.finetune(plan, f"diverging-{steps}", **diverging)
    assert not (still.folder / f"diverging-{steps}").exists()


def test_a_profile_names_operations_and_leaves_a_trace(still, reference):
    plan = still.plan("profiled", ranks=2, zero_stage=2)
    profiled = still.finetune(plan, "profiled", **SIX_STEPS, profile=True)
    assert profiled.losses == pytest.approx(reference.losses, abs=TOLERANCE)
    measured = TrainingOperations.read(profiled.folder / "operations.json")
    # Of six steps the last three.
    assert (measured.first_step, measured.steps, measured.device) == (4, 3, "cpu")
    assert len(measured.operations) == 10
    seconds = [operation.seconds_per_step for operation in measured.operations]
    assert seconds == sorted(seconds, reverse=True)
    shares = [operation.share for operation in measured.operations]
    # All are shares of the same time.
    whole = seconds[0] / shares[0]
    assert seconds == pytest.approx([whole * share for share in shares])
    assert any(operation.name.startswith("aten::") for operation in measured.operations)
    with gzip.open(profiled.folder / "trace.json.gz", "rt") as file:
        names = {event.get("name") for event in json.load(file)["traceEvents"]}
    assert {"aten::addmm", "ProfilerStep#5"} <= names
    # The longest ten of so many take at least what ten of them would take on average.
    assert 10 / len(names) <= sum(shares) <= 1


def test_without_a_profile_nothing_is_measured(reference):
    measured = TrainingOperations.read(reference.folder / "operations.json")
    assert measured == TrainingOperations()
    assert not (reference.folder / "trace.json.gz").exists()
