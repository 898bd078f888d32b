"""A training is killed, and on other GPUs `auto` chooses another strategy for it."""

import shutil
import signal

import pytest
import yaml

from retune.artifacts.plan import DEEPSPEED, PLAN, REASONS, Plan, Reasons
from retune.artifacts.publishing import read_json
from retune.artifacts.run_spec import RunSpec
from retune.checkpoints.checkpoint_files import find_checkpoints
from retune.errors import RetuneError
from retune.planning.choice import FREE_SHARE
from retune.settings import ConfigureSettings, FinetuneSettings, HardwareSettings
from retune.steps import configure
from retune.training.run_key import RunIdentity, open_run
from retune.units import GB
from tiny_run import TinyRun
from training_ranks import Job, forked_ranks

pytestmark = pytest.mark.long

SIX_STEPS = {
    **{"max_steps": 6, "learning_rate": 1e-2, "eval_steps": 3},
    **{"save_steps": 2, "save_total_limit": 3},
}
LARGE_GB = 80
KILLED = {"name": "before a save", "rank": 0, "step": 4}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run with dropout: resuming must restore its random numbers."""
    run = TinyRun(tmp_path_factory.mktemp("strategy"))
    run.make_inputs(n_embd=160)
    return run


def plan_for(run, name, gpu_memory_gb, **pinned):
    """Return the folder of a plan that `configure` makes for two GPUs.

    Here two CPU ranks train by it.
    """
    folder = run.folder / name
    gpus = {"accelerator": "cuda", "ranks_per_node": 2, "gpu_memory_gb": gpu_memory_gb}
    configure.run(
        ConfigureSettings(**pinned),
        HardwareSettings(**gpus),
        *(run.folder / "base", run.folder / "tokens.json", folder),
    )
    plan = Plan.read(folder / PLAN).model_copy(update={"accelerator": "cpu"})
    plan.write(folder / PLAN, folder / DEEPSPEED)
    return folder


def too_small(plan):
    """Return the memory of a GPU, GB, into which a plan does not fit by a little."""
    peak = Reasons.read(plan / REASONS).memory.peak_bytes
    return 0.99 * peak / (1 - FREE_SHARE) / GB


def train_until_killed(run, plan, name):
    """Train as the step does until a rank is killed; return the folder."""
    spec = RunSpec.make(
        *(FinetuneSettings(**SIX_STEPS), run.folder / "base", run.folder / "tokens"),
        plan,
    )
    state = open_run(run.state_of(name), RunIdentity.of(spec))
    with forked_ranks() as ranks:
        outcome = ranks.train(run.folder, [Job(plan, state, SIX_STEPS, KILLED)])
    assert outcome.codes[0] == -signal.SIGKILL, outcome.output
    return state


def files_of(tuned):
    """Return the hash of each file: weights, optimizer states and counters."""
    files = read_json(tuned.folder / "checkpoint/manifest.json")["files"]
    return {file["path"]: file["sha256"] for file in files}


def test_it_stops_and_goes_on_by_the_lines_it_names(run):
    now = plan_for(run, "now", LARGE_GB)
    before = plan_for(run, "before", too_small(now))
    stages = [Plan.read(plan / PLAN).zero_stage for plan in (before, now)]
    assert stages == [3, 2]
    whole = run.finetune(before, "whole", **SIX_STEPS)
    state = train_until_killed(run, before, "killed")
    other = run.state_of("other")
    shutil.copytree(state, other / state.name)
    held = {path: path.read_bytes() for path in state.rglob("*") if path.is_file()}

    with pytest.raises(RetuneError) as refused:
        run.finetune(now, "killed", **SIX_STEPS)
    told = str(refused.value)
    assert f"{state}: this training is at step 2 of 6 (saved " in told
    assert "otherwise since: configure.zero_stage was 3, is 2\n" in told
    assert f"to begin anew instead, remove it: rm -r {state} (" in told
    assert held == {p: p.read_bytes() for p in state.rglob("*") if p.is_file()}
    assert list(state.parent.glob("[!.]*")) == [state]

    lines = told.partition("write in params.yaml\n")[2].rpartition("\n")[0]
    pinned = yaml.safe_load(lines)
    assert pinned.keys() == {"configure"}
    plan = plan_for(run, "pinned", LARGE_GB, **pinned["configure"])
    assert Plan.read(plan / PLAN) == Plan.read(before / PLAN)
    resumed = run.finetune(plan, "killed", **SIX_STEPS)
    assert read_json(resumed.folder / "metrics.json")["resumed_from_step"] == 2
    assert resumed.losses == whole.losses
    assert resumed.weights == whole.weights
    assert files_of(resumed) == files_of(whole)
    assert not state.exists()

    shutil.rmtree(other / state.name)
    anew = run.finetune(now, "other", **SIX_STEPS)
    assert len(anew.losses) == 6
    assert not find_checkpoints(other)
