"""Triton kernels compute what PyTorch does, interpreted where there is no GPU.

Liger's in models of many families and by real ranks, and DeepSpeed's of the loss.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from compat_contract import contract
from interpreted_cells import CELLS, HALVES, REFUSED
from model_families import make_run
from retune.artifacts.plan import DEEPSPEED, PLAN, Plan
from retune.measuring.history import read_history, validations_in
from retune.planning.liger import SEEN
from training_ranks import Job, train_all

pytestmark = pytest.mark.long

TESTS = Path(__file__).parents[1]
# Liger's kernels and Triton; the Makefile puts them there.
KERNELS = Path(sys.prefix) / "kernels"
# Relative to the largest value of a gradient.
TOLERANCE = 1e-5
# Without a warm-up: the validation at the end sees the first step.
ONE_STEP = {"max_steps": 1, "learning_rate": 1e-3, "warmup_ratio": 0.0}
# Name -> settings of `configure`, of `finetune`.
STRATEGIES = {
    "ZeRO-3": ({"zero_stage": 3}, {}),
    "ZeRO-3, LoRA and checkpointing": (
        {"zero_stage": 3, "activation_checkpointing": True},
        {"lora": {"r": 4, "lora_alpha": 8}},
    ),
    "pipeline": ({"pipeline_stages": 2}, {}),
}


@pytest.fixture(scope="module")
def path():
    """Return the path on which Python finds the kernels and interprets them."""
    if not KERNELS.exists():
        if "RETUNE_TESTS_MUST_RUN" in os.environ:
            pytest.fail(f"{KERNELS} is missing: make test-long makes it")
        pytest.skip(f"{KERNELS} is missing")
    folders = [TESTS / "interpreted_triton", KERNELS, TESTS.parent / "workflow", TESTS]
    return os.pathsep.join(map(str, folders))


def run_program(path, program, *arguments):
    environment = {**os.environ, "PYTHONPATH": path, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, TESTS / program, *arguments],
        env={**environment, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done


def run(path, program, *arguments):
    return run_program(path, program, *arguments).stdout


@pytest.fixture(scope="module")
def outcomes(path, tmp_path_factory):
    """Return how models with Liger's kernels differ from the same without."""
    folder = tmp_path_factory.mktemp("models")
    run(path, "interpreted_layers.py", folder, folder / "table.json")
    return json.loads((folder / "table.json").read_text())


@pytest.mark.parametrize("name", CELLS)
def test_loss_and_gradients_are_those_of_plain_layers(outcomes, name):
    found = outcomes[name]
    assert found["loss_difference"] < 1e-5
    # The kernels round otherwise, which shows that they computed.
    assert 0 < found["gradient_difference"] < TOLERANCE


@pytest.mark.parametrize("name", HALVES)
def test_in_16_bits_they_round_where_plain_layers_do(outcomes, name):
    found = outcomes[name]
    assert found["loss_difference"] < 2e-3
    assert found["gradient_difference"] < 1e-2


def test_families_are_those_that_were_seen(outcomes):
    assert {outcomes[name]["model_type"] for name in CELLS} == set(SEEN)


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_would_have_other_gradients(outcomes, name):
    assert outcomes[name]["gradient_difference"] > 10 * TOLERANCE


def test_the_normalisation_of_many_narrow_rows_is_the_plain_one(path):
    table = json.loads(run(path, "interpreted_norms.py").splitlines()[-1])
    assert set(table["launched"]) == {
        "_block_rms_norm_forward_kernel",
        "_block_rms_norm_backward_kernel",
    }
    for name, differences in table["differences"].items():
        assert 0 < max(differences) < 3e-6, name


def test_nothing_but_triton_computes(path):
    with contract("liger_kernel"):
        done = run_program(path, "liger_implementation.py")
        found = json.loads(done.stdout.splitlines()[-1])
        assert found["available"][0] == "nvidia-cutedsl"
        assert found["pinned"] == "nvidia-triton"
        assert found["module"] == "liger_kernel.ops.backends._triton.rope"
        assert set(SEEN) <= set(found["families"])
        assert "could not be imported" not in done.stderr


@pytest.fixture(scope="module")
def jobs(path, tmp_path_factory):
    """Return a job of each strategy, with Liger's kernels and without, trained."""
    folder = tmp_path_factory.mktemp("ranks")
    made = make_run("llama", folder, torch.float32, held_out=8)
    jobs = {}
    for name, (configure, finetune) in STRATEGIES.items():
        values = {"precision": "fp32", "global_batch_size": 2, **configure}
        for with_liger in (False, True):
            ending = name.replace(", ", "-").replace(" ", "-") + f"-{with_liger}"
            plan = made.plan(f"plan-{ending}", 2, **values)
            # No setting makes such a plan for ranks that are CPUs.
            planned = Plan.read(plan / PLAN)
            planned.model_copy(update={"use_liger_kernel": with_liger}).write(
                plan / PLAN, plan / DEEPSPEED
            )
            state = made.folder / f"state-{ending}"
            jobs[name, with_liger] = Job(plan, state, {**ONE_STEP, **finetune})
    # DeepSpeed remembers a pipeline's ranks for the rest of the process, and Liger's
    # rotary embedding stays in a family's module.
    ordered = sorted(
        jobs.items(), key=lambda item: (item[0][1], item[0][0] == "pipeline")
    )
    for with_liger in (False, True):
        with pytest.MonkeyPatch.context() as patch:
            if with_liger:
                patch.setenv("PYTHONPATH", path)
            chosen = [job for (_, liger), job in ordered if liger == with_liger]
            train_all(made.folder, chosen, 2)
    return jobs


def validation_losses(job):
    rows = validations_in(read_history(job.state))
    assert len(rows) == 2
    return [row.validation_loss for row in rows]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_real_ranks_train_as_with_plain_layers(jobs, strategy):
    plain, other = jobs[strategy, False], jobs[strategy, True]
    assert other.losses == pytest.approx(plain.losses, abs=1e-5)
    assert validation_losses(other) == pytest.approx(validation_losses(plain), abs=1e-5)
    # The kernels round otherwise, which shows that they computed.
    assert other.weights != plain.weights
    assert other.weights.keys() == plain.weights.keys()


def test_deepspeeds_loss_on_gpus_is_the_plain_loss(path):
    table = json.loads(run(path, "interpreted_loss.py").splitlines()[-1])
    assert table.keys() == {"plain", "scaled", "capped", "ignored"}
    for name, differences in table.items():
        assert max(differences) < 2e-6, name
