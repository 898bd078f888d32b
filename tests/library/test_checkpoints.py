"""Damaged checkpoints are noticed and never trained on; good ones are not lost."""

import shutil
from collections import namedtuple
from dataclasses import replace

import pytest

from plans import make_plan
from retune.artifacts.publishing import read_json
from retune.checkpoints import checkpoint_files
from retune.checkpoints.checkpoint_files import (
    best_of,
    check_disk,
    find_checkpoints,
    find_damage,
    newest_good,
)
from retune.errors import RetuneError
from retune.measuring.history import STARTED
from retune.planning.memory import checkpoint_bytes
from tiny_run import TinyRun
from training_ranks import Job, forked_ranks

SIX_STEPS = {
    **{"max_steps": 6, "learning_rate": 1e-2, "eval_steps": 2},
    **{"save_steps": 2, "save_total_limit": 3},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    run = TinyRun(tmp_path_factory.mktemp("checkpoints"))
    run.make_inputs()
    return run


@pytest.fixture(scope="module")
def ranks():
    with forked_ranks() as ranks:
        yield ranks


@pytest.fixture(scope="module")
def jobs(run, ranks):
    """Two finished runs that differ in the seed."""
    plan = run.plan("plan", zero_stage=2)
    jobs = [
        Job(plan, run.folder / f"state-{seed}", {**SIX_STEPS, "seed": seed})
        for seed in (0, 1)
    ]
    trained(ranks, run, *jobs)
    return jobs


def trained(ranks, run, *jobs):
    """Train; every rank must end well. Return what they printed."""
    outcome = ranks.train(run.folder, list(jobs))
    assert outcome.codes == [0, 0], outcome.output
    return outcome.output


def refused(ranks, run, job, rank=0):
    """Train a job that must fail; return what the ranks printed."""
    outcome = ranks.train(run.folder, [job])
    assert 0 not in outcome.codes, outcome.output
    assert outcome.codes[rank] == 1, outcome.output
    return outcome.output


@pytest.fixture
def job(jobs, tmp_path):
    """A copy of the first of the runs, to spoil."""
    state = tmp_path / jobs[0].state.name
    shutil.copytree(jobs[0].state, state)
    return replace(jobs[0], state=state)


def steps_of(state):
    return [
        int(folder.name.removeprefix("step-")) for folder in find_checkpoints(state)
    ]


def contents_of(checkpoint):
    return {file["path"]: file["sha256"] for file in manifest_of(checkpoint)["files"]}


def manifest_of(checkpoint):
    return read_json(checkpoint / "manifest.json")


def truncate(path):
    path.write_bytes(path.read_bytes()[:-1])


def flip_bit(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def remove(path):
    path.unlink()


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [(truncate, "bytes instead of"), (flip_bit, "has changed"), (remove, "is missing")],
)
def test_a_file_that_changed_is_noticed(job, spoil, problem):
    files = sorted(contents_of(job.checkpoint))
    assert len(files) == 4  # two shards, the model's states, weights.json
    for name in files:
        path = job.checkpoint / name
        whole = path.read_bytes()
        spoil(path)
        found = find_damage(job.checkpoint)
        assert found.startswith(name)
        assert problem in found
        path.write_bytes(whole)
        assert find_damage(job.checkpoint) is None


def test_another_runs_shard_is_noticed(jobs, job):
    (name,) = (name for name in contents_of(job.checkpoint) if "pp_rank_1" in name)
    shutil.copy(jobs[1].checkpoint / name, job.checkpoint / name)
    assert name in find_damage(job.checkpoint)


def test_a_flipped_bit_in_the_manifest_is_noticed(job):
    path = job.checkpoint / "manifest.json"
    whole = path.read_bytes()
    for place in range(len(whole)):
        data = bytearray(whole)
        data[place] ^= 1 << place % 8
        path.write_bytes(data)
        assert find_damage(job.checkpoint) == "manifest.json is damaged"


@pytest.mark.parametrize("text", ["", "[]", "null", '{"files": [{"path": "a"}]}'])
def test_a_garbled_manifest_is_noticed(job, text):
    (job.checkpoint / "manifest.json").write_text(text)
    assert find_damage(job.checkpoint) == "manifest.json is damaged"
    assert best_of([job.checkpoint]) is None
    (job.checkpoint / "manifest.json").unlink()
    assert find_damage(job.checkpoint) == "manifest.json is missing"


def test_training_goes_on_from_the_last_good_one(jobs, job, run, ranks, caplog):
    old, middle, new = find_checkpoints(job.state)
    flip_bit(new / "weights.json")
    assert newest_good(job.state) == middle
    assert f"not using {new}: weights.json has changed" in caplog.text
    shutil.rmtree(middle)
    shutil.copytree(jobs[1].state / middle.name, middle)
    assert newest_good(job.state) == old
    assert f"not using {middle}: it is another run's" in caplog.text

    output = trained(ranks, run, job)
    assert f"not using {new}: weights.json has changed" in output
    assert read_json(job.state / STARTED)["step"] == 2
    assert job.losses == jobs[0].losses
    assert contents_of(job.checkpoint) == contents_of(jobs[0].checkpoint)


def test_damaged_ones_do_not_push_out_good_ones(job, run, ranks):
    for checkpoint in find_checkpoints(job.state)[1:]:
        flip_bit(checkpoint / "weights.json")
    settings = {**job.settings, "save_steps": 1, "save_total_limit": 1}
    fault = {"name": "before a save", "rank": 0, "step": 5}
    outcome = ranks.train(run.folder, [replace(job, settings=settings, fault=fault)])
    assert outcome.codes[0] < 0, outcome.output
    assert steps_of(job.state)[-1] in (3, 4)
    assert newest_good(job.state) == find_checkpoints(job.state)[-1]


def test_a_run_without_a_good_checkpoint_does_not_start_over(job, run, ranks):
    for checkpoint in find_checkpoints(job.state):
        truncate(checkpoint / "weights.json")
    before = sorted(job.state.rglob("*")), (job.state / STARTED).read_text()
    told = r"no checkpoint in it is good \(step-00000006: .*; step-00000004: .*"
    with pytest.raises(RetuneError, match=told):
        newest_good(job.state)
    output = refused(ranks, run, job)
    assert "or remove the folder to train from the first step" in output
    assert (sorted(job.state.rglob("*")), (job.state / STARTED).read_text()) == before


def test_another_runs_checkpoint_is_refused(jobs, job, run, ranks):
    for checkpoint in find_checkpoints(job.state):
        shutil.rmtree(checkpoint)
    shutil.copytree(jobs[1].checkpoint, job.state / jobs[1].checkpoint.name)
    output = refused(ranks, run, job)
    assert "(step-00000006: it is another run's)" in output


@pytest.mark.parametrize(
    ("losses", "kept"),
    [
        ([9.0, 3.0, 4.0, 4.5], [2, 6]),
        ([9.0, 3.0, 2.0, 4.0], [4, 6]),
        ([9, 3, 2, 1], [6]),
    ],
)
def test_the_best_one_is_kept_besides(jobs, run, ranks, tmp_path, losses, kept):
    losses = dict(zip((0, 2, 4, 6), losses, strict=True))
    fault = {"name": "validation losses", "rank": 0, "step": 0, "losses": losses}
    settings = {**SIX_STEPS, "save_total_limit": 1}
    job = Job(jobs[0].plan, tmp_path / "state", settings, fault)
    trained(ranks, run, job)
    assert steps_of(job.state) == kept
    assert best_of(find_checkpoints(job.state)) == find_checkpoints(job.state)[0]


def test_a_disk_that_is_too_small_is_told_before_training(job, monkeypatch):
    plan = make_plan(precision="bf16", zero_stage=2)
    size = checkpoint_bytes(plan, 10**9)
    assert size == 14 * 10**9
    there = sum(file.stat().st_size for file in job.state.rglob("*") if file.is_file())
    usage = namedtuple("usage", "free")
    needed = 4 * size - there
    monkeypatch.setattr(checkpoint_files.shutil, "disk_usage", lambda _: usage(needed))
    check_disk(job.state, size, keep=2)
    monkeypatch.setattr(
        checkpoint_files.shutil, "disk_usage", lambda _: usage(needed - 10**8)
    )
    told = r"will take 56\.0 GB, 4 of 14\.0 GB, and 55\.9 GB are free.*save_total_limit"
    with pytest.raises(RetuneError, match=told):
        check_disk(job.state, size, keep=2)


@pytest.mark.parametrize("rank", [0, 1])
def test_a_disk_that_fills_up_costs_no_earlier_checkpoint(
    jobs, run, ranks, tmp_path, rank
):
    fault = {"name": "full disk", "rank": rank, "step": 4}
    job = Job(jobs[0].plan, tmp_path / jobs[0].state.name, SIX_STEPS, fault)
    output = refused(ranks, run, job, rank)
    assert f"RetuneError: {job.state}: the disk is full (" in output
    assert "so the checkpoint of step 4 could not be written" in output
    assert steps_of(job.state) == [2]
    job = replace(job, fault=None)
    trained(ranks, run, job)
    assert read_json(job.state / STARTED)["step"] == 2
    assert job.losses == jobs[0].losses
    assert contents_of(job.checkpoint) == contents_of(jobs[0].checkpoint)


def test_weights_that_are_not_finite_are_not_saved(jobs, run, ranks, tmp_path):
    fault = {"name": "nan weight", "rank": 0, "step": 4}
    job = Job(jobs[0].plan, tmp_path / "state", SIX_STEPS, fault)
    output = refused(ranks, run, job)
    told = "RetuneError: 1 of 28 weights are not finite, transformer.wte.weight"
    assert output.count(told) == 2  # on both ranks
    assert steps_of(job.state) == [2]
    assert newest_good(job.state)


SKIPPING = {
    "ZeRO-0": {"zero_stage": 0},
    "ZeRO-1": {"zero_stage": 1},
    "ZeRO-2": {"zero_stage": 2},
    "ZeRO-3": {"zero_stage": 3},
    "ZeRO-1-bf16": {"zero_stage": 1, "precision": "bf16"},
    "ZeRO-2-bf16": {"zero_stage": 2, "precision": "bf16"},
    "ZeRO-3-bf16": {"zero_stage": 3, "precision": "bf16"},
    "accumulation": {"zero_stage": 2, "micro_batch_size": 1},
    # DeepSpeed remembers a pipeline's ranks for the rest of the process.
    "pipeline": {"pipeline_stages": 2},
    "pipeline-bf16": {"pipeline_stages": 2, "precision": "bf16"},
}
EACH_STEP = {**SIX_STEPS, "eval_steps": 6, "save_steps": 1, "save_total_limit": 6}


@pytest.fixture(scope="module")
def skipping(run, ranks):
    """Return for each strategy a run in which rank 1's loss was NaN in two steps."""
    fault = {"name": "nan loss", "rank": 1, "step": 0, "steps": [2, 3]}
    jobs = {
        name: Job(
            run.plan(f"plan-{name}", **settings),
            run.folder / "skipping" / name,
            EACH_STEP,
            fault,
        )
        for name, settings in SKIPPING.items()
    }
    trained(ranks, run, *jobs.values())
    return jobs


@pytest.mark.parametrize("name", SKIPPING)
def test_steps_that_are_not_finite_are_skipped(skipping, name):
    job = skipping[name]
    assert [loss is None for loss in job.losses] == [False, True, True, *[False] * 3]
    one, two, three, four, *_ = find_checkpoints(job.state)
    weights = [read_json(folder / "weights.json") for folder in (one, two, three, four)]
    assert weights[0] == weights[1] == weights[2] != weights[3]
    skipped = [manifest_of(folder)["skipped"] for folder in (one, two, three, four)]
    assert skipped == [0, 1, 2, 2]


def test_after_too_many_skipped_steps_it_ends(jobs, run, ranks, tmp_path):
    fault = {"name": "nan loss", "rank": 1, "step": 0, "steps": [2, 5]}
    settings = {**SIX_STEPS, "max_skipped_steps": 1}
    job = Job(jobs[0].plan, tmp_path / "state", settings, fault)
    output = refused(ranks, run, job)
    assert "skipped step 2 (rows " in output
    told = (
        "RetuneError: loss or gradients were not finite in 2 steps"
        " (finetune.max_skipped_steps: 1), lately in step 5 (rows "
    )
    assert told in output
    # Skipped steps are counted over all tries.
    assert told in refused(ranks, run, replace(job, fault={**fault, "steps": [5]}))
    assert read_json(job.state / STARTED)["step"] in (2, 4)
