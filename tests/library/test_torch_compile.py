"""Compiled layers train as plain ones do, in every strategy; with a real compiler."""

import pytest

from tiny_run import TinyRun
from training_ranks import Job, train_all

pytestmark = pytest.mark.long

FOUR_STEPS = {"max_steps": 4, "learning_rate": 1e-2, "eval_steps": 2, "save_steps": 2}
ADAPTERS = {"lora": {"r": 4, "lora_alpha": 8}}
CHECKPOINTING = {"activation_checkpointing": True}
# Name -> settings of `configure`, of `finetune`.
STRATEGIES = {
    "ZeRO-2": ({"zero_stage": 2}, {}),
    "ZeRO-3": ({"zero_stage": 3}, {}),
    "checkpointing": ({"zero_stage": 2, **CHECKPOINTING}, {}),
    "ZeRO-3 and checkpointing": ({"zero_stage": 3, **CHECKPOINTING}, {}),
    "masks": ({"zero_stage": 2, "attn_implementation": "sdpa"}, {}),
    "LoRA": ({"zero_stage": 2}, ADAPTERS),
    "pipeline": ({"pipeline_stages": 2}, {}),
}


@pytest.fixture(scope="module")
def jobs(tmp_path_factory):
    """Return a job of each strategy, with and without compiled layers, trained."""
    run = TinyRun(tmp_path_factory.mktemp("compiled"))
    run.make_inputs(resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0)
    jobs = {}
    for name, (configure, finetune) in STRATEGIES.items():
        for compiled in (False, True):
            folder = f"{name}-{compiled}"
            jobs[name, compiled] = Job(
                run.plan(f"plan-{folder}", 2, torch_compile=compiled, **configure),
                run.folder / f"state-{folder}",
                {**FOUR_STEPS, **finetune},
            )
    # DeepSpeed remembers a pipeline's ranks for the rest of the process.
    ordered = sorted(jobs.values(), key=lambda job: "pipeline" in job.state.name)
    train_all(run.folder, ordered, 2)
    return jobs


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_losses_and_names_are_those_of_plain_layers(jobs, strategy):
    plain, compiled = jobs[strategy, False], jobs[strategy, True]
    assert compiled.losses == pytest.approx(plain.losses, abs=2e-5)
    # What is compiled rounds otherwise, which shows that it was.
    assert compiled.weights != plain.weights
    assert compiled.weights.keys() == plain.weights.keys()
