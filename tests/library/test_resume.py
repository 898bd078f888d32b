"""A run that goes on from a checkpoint ends bit for bit as the undisturbed one."""

import shutil

import pytest

from retune.errors import RetuneError
from retune.publishing import read_json, write_json
from retune.training.checkpoint_files import find_checkpoints, find_damage, newest_good
from tiny_run import TinyRun
from training_ranks import Job, train_all

SIX_STEPS = {
    **{"max_steps": 6, "learning_rate": 1e-2, "eval_steps": 3},
    **{"save_steps": 2, "save_total_limit": 3},
}
ADAPTERS = {"lora": {"r": 4, "lora_dropout": 0.1}}
# Name -> settings of `configure`. What is swapped to a disk must come first: DeepSpeed
# names the files by a count of parameters in the process.
STRATEGIES = {
    "nvme": {"zero_stage": 3, "offload_optimizer": "nvme", "offload_param": "nvme"},
    "zero0": {"zero_stage": 0},
    "zero1": {"zero_stage": 1, "precision": "bf16"},
    "zero2": {"zero_stage": 2},
    "zero3": {"zero_stage": 3, "precision": "bf16"},
    "zero2-cpu": {"zero_stage": 2, "offload_optimizer": "cpu"},
    "zero3-lora": {"zero_stage": 3},
    "zero3-checkpointing": {"zero_stage": 3, "activation_checkpointing": True},
    "pipeline": {"pipeline_stages": 2},
    "pipeline-bf16": {"pipeline_stages": 2, "precision": "bf16"},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run with dropout, and large enough for something to be swapped."""
    run = TinyRun(tmp_path_factory.mktemp("resume"))
    run.make_inputs(n_embd=256)
    return run


def make_job(run, name, ranks, folder):
    settings = ADAPTERS if "lora" in name else {}
    nvme = str(run.folder / "nvme")
    return Job(
        run.plan(f"plan-{name}-{ranks}", ranks, nvme_path=nvme, **STRATEGIES[name]),
        folder / name,
        {**SIX_STEPS, **settings},
    )


def cut_back(job, folder):
    """Return the job as a kill after its first checkpoint leaves it, in `folder`."""
    state = folder / job.state.name
    shutil.copytree(job.state, state)
    for checkpoint in find_checkpoints(state)[1:]:
        shutil.rmtree(checkpoint)
    return Job(job.plan, state, job.settings)


def states_of(job):
    """Return the hashes of all that the ranks saved in the last step."""
    files = read_json(job.checkpoint / "manifest.json")["files"]
    return {file["path"]: file["sha256"] for file in files}


@pytest.fixture(scope="module", params=[2, 1])
def trained(run, request):
    """Return ranks, and for each strategy the undisturbed job and the resumed one."""
    ranks = request.param
    folder = run.folder / f"{ranks}"
    names = [name for name in STRATEGIES if ranks > 1 or "pipeline" not in name]
    whole = [make_job(run, name, ranks, folder) for name in names]
    train_all(run.folder, whole, ranks)
    resumed = [cut_back(job, folder / "resumed") for job in whole]
    train_all(run.folder, resumed, ranks)
    return ranks, dict(zip(names, zip(whole, resumed, strict=True), strict=True))


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_resumed_run_is_the_undisturbed_one(trained, name):
    ranks, jobs = trained
    if name not in jobs:
        pytest.skip("a pipeline needs two ranks")
    whole, resumed = jobs[name]
    assert read_json(resumed.state / "started.json") == {"step": 2}
    assert resumed.losses == whole.losses
    assert resumed.weights == whole.weights
    assert states_of(resumed) == states_of(whole)


OTHER_RANKS = {"zero0": 1e-5, "zero1": 1e-3, "zero2": 1e-5, "zero3": 1e-3}


def test_another_number_of_ranks_goes_on(run):
    pass
