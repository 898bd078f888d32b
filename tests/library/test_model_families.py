"""Every strategy trains the model that the files hold, and publishes it as it was.

For each family the first losses equal those of Transformers on one process, each
document by itself. With a learning rate that moves nothing the published folder is the
base folder. The table at the end of the tests' output shows the losses.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from model_families import FAMILIES, make_run, reference_loss
from retune.artifacts.plan import Plan
from retune.engines.pipeline_layers import FAMILIES as STAGED
from retune.measuring.history import read_history, validations_in
from retune.settings import ConsolidateSettings
from retune.steps import consolidate
from retune.tokens.data_shard import DataShard
from training_ranks import Job, train_all

pytestmark = pytest.mark.long

STAND_STILL = {"learning_rate": 1e-30, "weight_decay": 0.0, "max_steps": 2}
ADAPTERS = {"lora": {"r": 4, "lora_alpha": 8}}
# Name -> settings of `configure`, of `finetune`.
STRATEGIES = {
    "ZeRO-1": ({"zero_stage": 1}, {}),
    "ZeRO-2": ({"zero_stage": 2}, {}),
    "ZeRO-3": ({"zero_stage": 3}, {}),
    "LoRA, ZeRO-2": ({"zero_stage": 2}, ADAPTERS),
    "LoRA, ZeRO-3": ({"zero_stage": 3}, ADAPTERS),
    "bf16, ZeRO-2": ({"zero_stage": 2, "precision": "bf16"}, {}),
    "bf16, ZeRO-3": ({"zero_stage": 3, "precision": "bf16"}, {}),
    "pipeline": ({"pipeline_stages": 2}, {}),
}
# Largest difference of a loss, nats; the losses are about 7. In bf16 the order of sums
# shows.
TOLERANCE = {"float32": 3e-6, "bfloat16": 1e-2}
# The release before Transformers renamed weights; the Makefile puts it there.
TRANSFORMERS_4 = Path(sys.prefix) / "transformers-4"


def can_be(family, strategy):
    return strategy != "pipeline" or family.partition(",")[0] in STAGED


CELLS = [
    (family, strategy)
    for family in FAMILIES
    for strategy in STRATEGIES
    if can_be(family, strategy)
]


def in_file_names(name):
    return name.replace(", ", "-").replace(" ", "-")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Return each family's run. Stored in bf16, as most models on the hub are."""
    folder = tmp_path_factory.mktemp("families")
    return {
        family: make_run(family, folder / in_file_names(family), torch.bfloat16)
        for family in FAMILIES
    }


@pytest.fixture(scope="module")
def trained(runs):
    """Return the jobs of all cells, trained on two ranks."""
    jobs = {}
    for family, strategy in CELLS:
        run, name = runs[family], in_file_names(strategy)
        configure, finetune = STRATEGIES[strategy]
        plan = {"precision": "fp32", "global_batch_size": 4, **configure}
        jobs[family, strategy] = Job(
            run.plan(f"plan-{name}", 2, **plan),
            run.folder / f"state-{name}",
            {**STAND_STILL, **finetune},
            inputs=run.folder,
        )
    # DeepSpeed remembers a pipeline's ranks for the rest of the process.
    ordered = sorted(jobs.values(), key=lambda job: "pipeline" in job.state.name)
    train_all(runs["gpt2"].folder, ordered, 2)
    return jobs


@pytest.fixture(scope="module")
def published(runs, trained):
    """Return a function from a cell to its published folder."""

    def publish(family, strategy):
        folder = runs[family].folder / f"model-{in_file_names(strategy)}"
        if not folder.exists():
            checkpoint = trained[family, strategy].checkpoint
            base = runs[family].folder / "base"
            consolidate.run(ConsolidateSettings(), base, checkpoint, folder)
        return folder

    return publish


def dtype_of(strategy):
    return torch.bfloat16 if "bf16" in strategy else torch.float32


@pytest.fixture(scope="module")
def references(runs):
    """Return a function from family, plan and dtype to the losses there should be."""
    known = {}

    def losses(family, plan, dtype):
        key = family, dtype
        if key not in known:
            folder = runs[family].folder
            shard = DataShard(
                *(folder / "tokens", plan.model_copy(update={"micro_batch_size": 4})),
                *(0, 0, 1),
            )
            model = AutoModelForCausalLM.from_pretrained(folder / "base", dtype=dtype)
            known[key] = [
                reference_loss(model, batches, dtype)
                for batches in (
                    shard.validation_batches(),
                    shard.step_data(0).micro_batches,
                )
            ]
        return known[key]

    return losses


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: "-".join(cell))
def test_the_first_losses_are_those_of_transformers(
    trained, references, cell, record_property
):
    family, strategy = cell
    job, dtype = trained[cell], dtype_of(strategy)
    validation = validations_in(read_history(job.state))[0].validation_loss
    wanted = references(family, Plan.read(job.plan / "plan.json"), dtype)
    precision = "bf16" if dtype == torch.bfloat16 else "fp32"
    row = [f"{family}: {strategy}", precision, 2, validation, job.losses[0], *wanted]
    record_property("losses", row)
    tolerance = TOLERANCE[str(dtype).removeprefix("torch.")]
    assert [validation, job.losses[0]] == pytest.approx(wanted, abs=tolerance)


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: "-".join(cell))
def test_the_published_folder_is_the_base_folder(runs, published, cell):
    folder, base = published(*cell), runs[cell[0]].folder / "base"
    ours, theirs = (load_file(f / "model.safetensors") for f in (folder, base))
    assert list(sorted(ours)) == list(sorted(theirs))
    for name, tensor in theirs.items():
        assert ours[name].dtype == tensor.dtype == torch.bfloat16
        assert torch.equal(ours[name], tensor), name
    for name in ("config.json", "generation_config.json", "tokenizer.json"):
        assert (folder / name).read_bytes() == (base / name).read_bytes()


LOGITS = """
import sys, torch, transformers
from transformers import AutoModelForCausalLM
logits = []
for folder in sys.argv[2:]:
    # With sdpa, Transformers 4 leaves out the soft caps of Gemma 2.
    options = {"dtype": torch.float32, "attn_implementation": "eager"}
    model, info = AutoModelForCausalLM.from_pretrained(
        folder, output_loading_info=True, **options
    )
    assert not info["missing_keys"] and not info["unexpected_keys"], (folder, info)
    with torch.inference_mode():
        logits.append(model.eval()(input_ids=torch.arange(5, 37)[None]).logits)
torch.save({"version": transformers.__version__, "logits": logits}, sys.argv[1])
"""


def logits_of(folders, result, path=None):
    """Return the logits of models as another version of Transformers computes them."""
    environment = {**os.environ, "PYTHONPATH": str(path or ""), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", LOGITS, result, *folders]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    found = torch.load(result)
    return found["version"], found["logits"]


def test_transformers_4_and_5_read_the_published_folders_alike(
    runs, published, tmp_path
):
    if not TRANSFORMERS_4.exists():
        if "RETUNE_TESTS_MUST_RUN" in os.environ:
            pytest.fail(f"{TRANSFORMERS_4} is missing: make test-long makes it")
        pytest.skip(f"{TRANSFORMERS_4} is missing")
    base = [run.folder / "base" for run in runs.values()]
    ours = [published(family, "ZeRO-3") for family in FAMILIES]
    version_4, logits_4 = logits_of([*base, *ours], tmp_path / "4", TRANSFORMERS_4)
    version_5, logits_5 = logits_of([*base, *ours], tmp_path / "5")
    assert (version_4.split(".")[0], version_5.split(".")[0]) == ("4", "5")
    for family, *four in zip(FAMILIES, logits_4, logits_4[len(base) :], strict=False):
        assert torch.equal(*four), family
    for family, four, five in zip(FAMILIES, logits_4, logits_5, strict=False):
        torch.testing.assert_close(four, five, atol=1e-4, rtol=1e-4, msg=family)
