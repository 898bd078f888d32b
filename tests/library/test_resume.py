"""A run that goes on from a checkpoint ends bit for bit as the undisturbed one."""

import shutil
import subprocess
import sys
from dataclasses import replace

import pytest
from deepspeed.ops.op_builder import AsyncIOBuilder

from retune.artifacts.publishing import read_json
from retune.checkpoints.checkpoint_files import find_checkpoints
from retune.checkpoints.resume import convert
from retune.errors import RetuneError
from tiny_run import TinyRun
from training_ranks import Job, train_all

pytestmark = pytest.mark.long

SIX_STEPS = {
    **{"max_steps": 6, "learning_rate": 1e-2, "eval_steps": 3},
    **{"save_steps": 2, "save_total_limit": 3},
}
ADAPTERS = {"lora": {"r": 4, "lora_dropout": 0.1}}
BF16_STATES = {"precision": "bf16", "bf16_optimizer_states": True}
# Name -> settings of `configure`. What is swapped to a disk must come first: DeepSpeed
# names the files by a count of parameters in the process.
STRATEGIES = {
    "nvme": {"zero_stage": 3, "offload_optimizer": "nvme", "offload_param": "nvme"},
    "zero0": {"zero_stage": 0},
    "zero1": {"zero_stage": 1, "precision": "bf16"},
    "zero2": {"zero_stage": 2},
    # Accumulates on one rank only.
    "zero2-bf16": {"zero_stage": 2, "precision": "bf16", "micro_batch_size": 8},
    "zero3": {"zero_stage": 3, "precision": "bf16", "micro_batch_size": 8},
    "zero3-fp32": {"zero_stage": 3},
    "zero2-cpu": {"zero_stage": 2, "offload_optimizer": "cpu"},
    "zero3-lora": {"zero_stage": 3},
    "zero3-lora-dora": {"zero_stage": 3},
    "zero3-checkpointing": {"zero_stage": 3, "activation_checkpointing": True},
    "zero2-compiled": {"zero_stage": 2, "torch_compile": True},
    "zero2-states": {"zero_stage": 2, "micro_batch_size": 8, **BF16_STATES},
    "zero3-states": {"zero_stage": 3, "micro_batch_size": 8, **BF16_STATES},
    "zero0-8bit": {"zero_stage": 0, "optim": "adamw_8bit"},
    "zero2-8bit": {"zero_stage": 2, "optim": "adamw_8bit", "precision": "bf16"},
    "zero3-8bit": {"zero_stage": 3, "optim": "adamw_8bit"},
    "pipeline": {"pipeline_stages": 2},
    "pipeline-bf16": {"pipeline_stages": 2, "precision": "bf16"},
    "pipeline-states": {"pipeline_stages": 2, **BF16_STATES},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run with dropout, and large enough for something to be swapped."""
    run = TinyRun(tmp_path_factory.mktemp("resume"))
    run.make_inputs(n_embd=160)
    return run


def make_job(run, name, ranks, folder):
    settings = ADAPTERS if "lora" in name else {}
    if "dora" in name:
        settings = {"lora": {**ADAPTERS["lora"], "use_dora": True}}
    return Job(
        run.plan(f"plan-{name}-{ranks}", ranks, **STRATEGIES[name]),
        folder / name,
        {**SIX_STEPS, **settings},
        nvme_path=str(run.folder / "nvme"),
    )


def cut_back(job, folder):
    """Return the job as a kill after its first checkpoint leaves it, in `folder`."""
    state = folder / job.state.name
    shutil.copytree(job.state, state)
    for checkpoint in find_checkpoints(state)[1:]:
        shutil.rmtree(checkpoint)
    return replace(job, state=state)


def states_of(job):
    """Return the hashes of all that the ranks saved in the last step."""
    files = read_json(job.checkpoint / "manifest.json")["files"]
    return {file["path"]: file["sha256"] for file in files}


@pytest.fixture(scope="module", params=[2, 1])
def trained(run, request):
    """Return ranks, and for each strategy the undisturbed job and the resumed one."""
    ranks = request.param
    folder = run.folder / f"{ranks}"
    names = list(STRATEGIES) if ranks > 1 else ["zero1", "zero2", "zero3"]
    if not AsyncIOBuilder().is_compatible():
        names = [name for name in names if name != "nvme"]
    whole = [make_job(run, name, ranks, folder) for name in names]
    train_all(run.folder, whole, ranks)
    resumed = [cut_back(job, folder / "resumed") for job in whole]
    train_all(run.folder, resumed, ranks)
    return ranks, dict(zip(names, zip(whole, resumed, strict=True), strict=True))


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_resumed_run_is_the_undisturbed_one(trained, name):
    ranks, jobs = trained
    if name not in jobs:
        pytest.skip("on two ranks" if ranks == 1 else "libaio is not installed")
    whole, resumed = jobs[name]
    assert read_json(resumed.state / "started.json")["step"] == 2
    assert resumed.losses == whole.losses
    assert resumed.weights == whole.weights
    assert states_of(resumed) == states_of(whole)


@pytest.fixture(scope="module")
def still(tmp_path_factory):
    """A run without dropout, which other ranks would draw otherwise."""
    run = TinyRun(tmp_path_factory.mktemp("other-ranks"))
    run.make_inputs(resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0)
    return run


# Largest difference of a loss, nats.
OTHERS = {
    "zero0": 2e-5,
    "zero1": 5e-3,
    "zero2": 2e-5,
    "zero2-bf16": 5e-3,
    "zero3": 5e-3,
    "zero3-fp32": 2e-5,
}


def test_a_run_goes_on_on_another_number_of_ranks_and_back(still):
    def jobs_of(ranks, folder):
        return [make_job(still, name, ranks, still.folder / folder) for name in OTHERS]

    whole = jobs_of(2, "whole")
    pipeline = make_job(still, "pipeline", 2, still.folder / "whole")
    train_all(still.folder, [*whole, pipeline], 2)
    on_one = move(whole, jobs_of(1, "on-one"), keep=1)
    train_all(still.folder, on_one, 1)
    back = move(on_one, jobs_of(2, "back"), keep=2)
    train_all(still.folder, back, 2)
    for moved, step, saved_on in ((on_one, 2, 2), (back, 4, 1)):
        started = {"step": step, "saved_on": saved_on}
        for one, undisturbed in zip(moved, whole, strict=True):
            assert read_json(one.state / "started.json") == started
            tolerance = OTHERS[one.state.name]
            assert one.losses == pytest.approx(undisturbed.losses, abs=tolerance)
            assert [row.num_labels for row in one.steps] == [
                row.num_labels for row in undisturbed.steps
            ]
            assert not list(one.state.glob(".universal*"))
    two_by_two = [make_job(still, "pipeline", 4, still.folder / "four")]
    move([pipeline], two_by_two, keep=1)
    train_all(still.folder, two_by_two, 4)
    assert two_by_two[0].losses == pytest.approx(pipeline.losses, abs=2e-5)
    assert read_json(two_by_two[0].state / "started.json") == {"step": 2, "saved_on": 2}


def test_a_conversion_that_ends_without_a_word_is_told(tmp_path, monkeypatch):
    command = [sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"]
    run = subprocess.run
    monkeypatch.setattr(subprocess, "run", lambda _, **options: run(command, **options))
    with pytest.raises(RetuneError, match=r"step-00000002: .* could not .* \(-9\)"):
        convert(tmp_path / "step-00000002")


def move(jobs, targets, keep):
    """Copy the state of jobs, with their oldest `keep` checkpoints, to other jobs."""
    for job, target in zip(jobs, targets, strict=True):
        shutil.copytree(job.state, target.state)
        for checkpoint in find_checkpoints(target.state)[keep:]:
            shutil.rmtree(checkpoint)
    return targets
