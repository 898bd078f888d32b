"""The same training on a CUDA device, in bf16, with and without offloading."""

import pytest
import torch

from retune.artifacts.publishing import read_json
from tiny_run import TinyRun

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here"),
]

SIX_STEPS = {"max_steps": 6, "learning_rate": 1e-2, "eval_steps": 3, "save_steps": 3}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    run = TinyRun(tmp_path_factory.mktemp("gpu"))
    run.make_inputs(resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0)
    return run


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("zero2", {"zero_stage": 2}),
        ("zero3", {"zero_stage": 3}),
        ("offload", {"zero_stage": 3, "offload_optimizer": "cpu"}),
    ],
)
def test_it_learns_and_consolidates(run, name, settings):
    plan = run.plan(f"plan-{name}", ranks=1, accelerator="cuda", **settings)
    assert read_json(plan / "plan.json")["precision"] == "bf16"
    tuned = run.finetune(plan, name, **SIX_STEPS)
    assert tuned.losses[-1] < tuned.losses[0] - 0.5
    tuned.consolidate()
