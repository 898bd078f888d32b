"""Real DeepSpeed ranks that are stopped, killed, or go wrong: nothing is lost."""

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

import faulty_rank
from retune.artifacts.publishing import read_json
from retune.checkpoints.checkpoint_files import find_checkpoints, find_damage
from retune.errors import RetuneError, Stopped
from retune.launching import this_machine
from retune.measuring.history import read_history
from retune.steps import finetune
from retune.supervision.starter import Starter
from retune.training import run_lock
from retune.units import GB
from tiny_run import TinyRun

STEPS = {"max_steps": 200, "epochs": 1000, "learning_rate": 1e-2, "eval_steps": 1000}
STEPS["save_steps"] = 1000
HOURS = {**STEPS, "epochs": 10**5, "max_steps": 10**6}
# Seconds in which ranks must be gone.
SOON = 10
# Seconds after which a rank counts as hanging.
PATIENCE = {"ddp_timeout": 20}

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    run = TinyRun(tmp_path_factory.mktemp("run"))
    run.make_inputs()  # with dropout: resuming must restore its random numbers
    return run


@pytest.fixture(scope="module")
def plan(run):
    return run.plan("plan", zero_stage=2)


def ranks_of(state):
    """Return the numbers of the processes that train into a state folder."""
    result = subprocess.run(
        ["pgrep", "-f", f"retune.training.rank.*{state}"],
        capture_output=True,
        check=False,
    )
    return [int(word) for word in result.stdout.split()]


def gone(state):
    """Return whether no rank is left, soon."""
    deadline = time.monotonic() + SOON
    while ranks_of(state) and time.monotonic() < deadline:
        time.sleep(0.1)
    return not ranks_of(state)


def rank_process(state, rank):
    """Return the number of the process that is a rank."""
    for pid in ranks_of(state):
        environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        if f"RANK={rank}".encode() in environment:
            return pid
    raise AssertionError(f"rank {rank} is not running")


@contextmanager
def started(run, plan, name, at_step, settings):
    """Start the step and wait for a training step; leave nothing of it at the end."""
    command = run.finetune_command(plan, name, **settings)
    log = run.folder / f"{name}.log"
    with log.open("w") as file:
        process = subprocess.Popen(
            command,
            stderr=file,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and process.poll() is None:
            states = [p for p in run.state_of(name).glob("*") if p.is_dir()]
            if states and any(r.step >= at_step for r in read_history(states[0])):
                break
            time.sleep(0.01)
        assert process.poll() is None, log.read_text()
        yield process, states[0], log
    finally:
        # Its ranks end with it.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert gone(states[0])


def stopped(process, state, log, number):
    """Check that the step ends as one that was stopped; return at which step."""
    assert process.wait(timeout=60) == os.EX_TEMPFAIL, log.read_text()
    checkpoint = find_checkpoints(state)[-1]
    assert find_damage(checkpoint) is None
    step = read_json(checkpoint / "manifest.json")["step"]
    told = f"error: stopped at step {step} of 200 on {number} and saved; run the same"
    assert told in log.read_text()
    assert not list(state.glob("heartbeat-*"))
    assert step == read_history(state)[-1].step
    return step


def test_a_stopped_run_goes_on_as_if_nothing_had_happened(run, plan):
    undisturbed = run.finetune(plan, "undisturbed", **STEPS)
    with started(run, plan, "stopped", 5, STEPS) as (process, state, log):
        process.terminate()
        first = stopped(process, state, log, "SIGTERM")
    # As SLURM, which signals the step and its ranks.
    with started(run, plan, "stopped", first + 5, STEPS) as (process, state, log):
        for pid in (*ranks_of(state), process.pid):
            os.kill(pid, signal.SIGUSR1)
        second = stopped(process, state, log, "SIGUSR1")
    with started(run, plan, "stopped", second + 5, STEPS) as (process, state, log):
        os.kill(rank_process(state, 1), signal.SIGTERM)
        third = stopped(process, state, log, "a signal to a rank")
    assert first < second < third < 200
    resumed = run.finetune(plan, "stopped", **STEPS)
    assert resumed.losses == undisturbed.losses
    assert resumed.weights == undisturbed.weights
    metrics = read_json(resumed.folder / "metrics.json")
    assert metrics["resumed_from_step"] == third


def test_a_second_signal_ends_all_at_once(run, plan):
    with started(run, plan, "twice", 3, HOURS) as (process, state, log):
        os.kill(rank_process(state, 1), signal.SIGSTOP)  # it will not answer the first
        process.terminate()
        time.sleep(1)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=SOON) == 128 + signal.SIGINT
        assert gone(state)
        assert "ended at once on a second signal, SIGINT" in log.read_text()


def test_the_ranks_end_with_a_killed_step(run, plan, monkeypatch):
    monkeypatch.setattr(run_lock, "PATIENCE_S", 1.0)
    with started(run, plan, "killed", 3, HOURS) as (process, state, _):
        with pytest.raises(RetuneError, match="trains exactly this already"):
            run.finetune(plan, "killed", **HOURS)
        assert len(ranks_of(state)) == 2
        process.kill()
        assert gone(state)


def test_what_is_trained_for_nobody_is_left_for_the_next_run(run, plan, monkeypatch):
    starter = subprocess.Popen(["true"])
    starter.wait()
    settings = STEPS | {"max_steps": 3}
    with monkeypatch.context() as patch:
        patch.setattr(finetune, "starter", lambda: Starter(str(starter.pid)))
        with pytest.raises(Stopped, match="trained to the last step"):
            run.finetune(plan, "for-nobody", **settings)
    tuned = run.finetune(plan, "for-nobody", **settings)
    assert read_json(tuned.folder / "metrics.json")["resumed_from_step"] == 3


def test_a_log_shows_each_warning_once_and_what_a_person_looks_for(run):
    plan = run.plan("zero-3", zero_stage=3)
    settings = STEPS | {"max_steps": 8, "eval_steps": 4, "save_steps": 4}
    with started(run, plan, "logged", 1, settings) as (process, _, log):
        assert process.wait(timeout=120) == 0
        lines = log.read_text().splitlines()
    warnings = [line for line in lines if re.match(r".*:\d+: \w*Warning: ", line)]
    said = [line.partition(" | ")[2] for line in warnings if " | " in line]
    assert said
    assert len(said) == len(set(said))
    again = [line for line in lines if re.match(r"printed \d+ more times: ", line)]
    assert again
    assert lines[-1].startswith("done: 8 steps, validation loss ")
    told = "\n".join(lines)
    assert re.search(r"step 4 of 8: training loss \d.*, validation loss \d", told)
    assert "rank 0 INFO step 4: saved" in told


def test_a_killed_rank_is_named(run, plan):
    with started(run, plan, "rank-killed", 3, HOURS) as (process, state, log):
        os.kill(rank_process(state, 1), signal.SIGKILL)
        assert process.wait(timeout=SOON) == 1
        assert gone(state)
        told = log.read_text().splitlines()[-1]
        assert told.startswith("error: rank 1 was killed by SIGKILL in step ")


def test_a_suspended_rank_is_named_and_ends_the_run(run, plan):
    settings = HOURS | PATIENCE
    with started(run, plan, "suspended", 3, settings) as (process, state, log):
        os.kill(rank_process(state, 1), signal.SIGSTOP)
        assert process.wait(timeout=PATIENCE["ddp_timeout"] + SOON) == 1
        assert gone(state)
        assert "error: rank 1 made no progress for" in log.read_text()


@pytest.fixture
def finetune_with_fault(monkeypatch):
    """Return a function that trains with ranks of which rank 1 goes wrong."""
    rank_command = this_machine.rank_command
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))

    def finetune(fault, run, plan, **settings):
        def faulty_command(*arguments):
            python, _, _, *rest = rank_command(*arguments)
            return [python, faulty_rank.__file__, fault, *rest]

        monkeypatch.setattr(this_machine, "rank_command", faulty_command)
        run.finetune(plan, fault, **HOURS | settings)

    return finetune


def test_the_rank_that_raises_is_named_and_not_its_victims(
    finetune_with_fault, run, plan, capfd
):
    start = time.monotonic()
    told = r"rank 1 failed first: ValueError: the data is on fire \(in step 3\)"
    with pytest.raises(RetuneError, match=told):
        finetune_with_fault("fail", run, plan)
    assert time.monotonic() - start < 60
    assert "faulty_rank.py" in capfd.readouterr().err  # the traceback


def test_a_hanging_rank_is_named_with_its_stack(finetune_with_fault, run, plan, caplog):
    told = r"rank 1 made no progress for 2\d s in step 3 .*finetune.ddp_timeout"
    with pytest.raises(RetuneError, match=told):
        finetune_with_fault("hang", run, plan, **PATIENCE)
    assert "in hang\n" in caplog.text


def test_what_is_advised_when_memory_runs_out_then_fits(
    finetune_with_fault, tmp_path, monkeypatch
):
    run = TinyRun(tmp_path)
    # So large activations that malloc asks the kernel for their memory in each step.
    run.make_inputs(n_positions=256, n_embd=256, n_layer=8)
    plan = run.plan("plan", micro_batch_size=16, global_batch_size=32)
    told = (
        r"^rank 1 ran out of memory in step 3 at configure.micro_batch_size: 16"
        r" \(needs about [\d.]+ GB, ([\d.]+) GB are there\):"
        r" write configure.micro_batch_size: 8 \(about [\d.]+ GB\)$"
    )
    with pytest.raises(RetuneError, match=told) as raised:
        finetune_with_fault("limit-memory", run, plan, max_steps=3)
    print(raised.value)
    there = float(re.match(told, f"{raised.value}")[1])
    monkeypatch.setenv("MEMORY_LIMIT", f"{round(there * GB)}")
    advised = run.plan("advised", micro_batch_size=8, global_batch_size=32)
    finetune_with_fault("limit-memory", run, advised, max_steps=3)
