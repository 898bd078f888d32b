"""Which trainings are one, and what is said of those that are not."""

import pytest

from retune.artifacts.publishing import write_manifest
from retune.artifacts.run_spec import RunSpec
from retune.planning.complete_config import put
from retune.planning.given_config import ZERO
from retune.planning.given_keys import KEPT, PLANNED
from retune.settings import ConfigureSettings, FinetuneSettings, HardwareSettings
from retune.step_code import code_files, hash_file
from retune.steps import configure
from retune.training.run_key import (
    NOT_OF_WEIGHTS,
    RunIdentity,
    code_of_weights,
    open_run,
)
from tiny_facts import write_tiny_base
from token_files import make_token_metrics


@pytest.fixture
def inputs(tmp_path):
    """Return a function that plans, and gives the folders of a training."""
    write_tiny_base(tmp_path / "base")
    (tmp_path / "tokens").mkdir()
    write_manifest(tmp_path / "tokens")
    make_token_metrics(64, 32).write(tmp_path / "tokens.json")

    def plan(ranks=2, **settings):
        folder = tmp_path / f"plan-{ranks}-{len(list(tmp_path.iterdir()))}"
        configure.run(
            ConfigureSettings(**settings),
            HardwareSettings(ranks_per_node=ranks),
            *(tmp_path / "base", tmp_path / "tokens.json", folder),
        )
        return [tmp_path / "base", tmp_path / "tokens", folder]

    return plan


@pytest.fixture
def run_of_plan(inputs):
    """A training at ZeRO-2 in bf16."""
    paths = inputs(zero_stage=2, precision="bf16", micro_batch_size=1)
    return RunSpec.make(FinetuneSettings(), *paths)


def identity(settings, paths):
    """Return the identity of a training by these folders."""
    return RunIdentity.of(RunSpec.make(settings, *paths))


@pytest.mark.parametrize(
    "change",
    [
        *({"save_steps": 7}, {"save_total_limit": 1}, {"save_only_model": True}),
        *({"load_best_model_at_end": True}, {"ddp_timeout": 60}),
        {"profile": True},
    ],
)
def test_a_run_is_the_same_though_something_else_is_to_be_kept(inputs, change):
    paths = inputs()
    same = identity(FinetuneSettings(**change), paths)
    assert same.key == identity(FinetuneSettings(), paths).key


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("zero_stage", [1, 2, 3])
def test_a_run_is_the_same_on_other_ranks_and_in_other_portions(
    inputs, precision, zero_stage
):
    batch = {"global_batch_size": 8, "precision": precision, "zero_stage": zero_stage}
    keys = {
        identity(FinetuneSettings(), inputs(ranks, **batch, **portions)).key
        for ranks, portions in (
            *((1, {}), (2, {}), (2, {"micro_batch_size": 1})),
            (2, {"activation_checkpointing": True}),
        )
    }
    assert len(keys) == 1


@pytest.mark.parametrize(
    "change",
    [
        *({"learning_rate": 1.0}, {"seed": 1}, {"lora": {"r": 2}}, {"epochs": 2.0}),
        {"lora": {"load_in_4bit": True}},
        {"mix": {"mine": {"rows": 9}}},
    ],
)
def test_another_setting_is_another_run(inputs, change):
    paths = inputs()
    other = identity(FinetuneSettings(**change), paths)
    assert other.key != identity(FinetuneSettings(), paths).key


@pytest.mark.parametrize(
    "overrides",
    [
        {"steps_per_print": 10, "log_level": "info", "wall_clock_breakdown": True},
        {"zero_optimization": {"reduce_bucket_size": 1000, "overlap_comm": False}},
        # It is so without it.
        {"data_types": {"grad_accum_dtype": "fp32"}},
    ],
)
def test_a_run_goes_on_by_what_decides_no_weight(inputs, overrides):
    base = {"zero_stage": 2, "precision": "bf16"}
    keys = {
        identity(FinetuneSettings(), inputs(**base, **given)).key
        for given in ({}, {"overrides": overrides})
    }
    assert len(keys) == 1


@pytest.mark.parametrize(
    "overrides",
    [
        {"communication_data_type": "fp32"},
        {"data_types": {"grad_accum_dtype": "bf16"}},
        {"gradient_clipping": 0.5},
        {"zero_optimization": {"sub_group_size": 1000}},
    ],
)
def test_another_key_of_deepspeed_is_another_run(inputs, overrides):
    base = {"zero_stage": 2, "precision": "bf16", "micro_batch_size": 1}
    keys = {
        identity(FinetuneSettings(), inputs(**base, **given)).key
        for given in ({}, {"overrides": overrides})
    }
    assert len(keys) == 2


# Keys of a user's DeepSpeed config by which other weights come out, or checkpoints are
# laid out otherwise.
OF_WEIGHTS = {
    *("train_batch_size", "gradient_clipping", "fp16.enabled", "bf16.enabled"),
    *("bf16.bf16_master_weights_and_grads", "bf16.bf16_optimizer_states"),
    *("fp16.loss_scale", "fp16.initial_scale_power", "fp16.loss_scale_window"),
    *("fp16.hysteresis", "fp16.consecutive_hysteresis", "fp16.min_loss_scale"),
    *("communication_data_type", "prescale_gradients", "gradient_predivide_factor"),
    *(f"{ZERO}.stage", f"{ZERO}.sub_group_size", f"{ZERO}.reduce_scatter"),
    f"{ZERO}.contiguous_gradients",
    *(f"{ZERO}.round_robin_gradients", f"{ZERO}.memory_efficient_linear"),
    *(f"{ZERO}.offload_optimizer.device", f"{ZERO}.offload_param.device"),
}


@pytest.mark.parametrize("key", sorted(PLANNED | KEPT))
def test_a_run_goes_on_by_another_value_of_a_key_unless_weights_depend_on_it(
    run_of_plan, key
):
    config = dict(run_of_plan.deepspeed)
    put(config, key, "another")
    other = run_of_plan.model_copy(update={"deepspeed": config})
    differs = RunIdentity.of(other).key != RunIdentity.of(run_of_plan).key
    assert differs is (key in OF_WEIGHTS)


def test_the_type_of_sums_of_gradients_is_told_by_the_plan(run_of_plan):
    plan = run_of_plan.plan.model_copy(update={"grad_accum_dtype": "bf16"})
    other = run_of_plan.model_copy(update={"plan": plan})
    runs = [RunIdentity.of(run).values for run in (other, run_of_plan)]
    assert [values["grad_accum_dtype"] for values in runs] == ["bf16", "fp32"]


def test_another_strategy_or_data_is_another_run(inputs, tmp_path):
    identities = [
        identity(FinetuneSettings(), inputs(**settings))
        for settings in ({}, {"zero_stage": 3}, {"global_batch_size": 8})
    ]
    paths = inputs()
    write_manifest(tmp_path / "tokens", source="other")
    identities.append(identity(FinetuneSettings(), paths))
    assert len({each.key for each in identities}) == 4


def test_another_optimizer_is_another_run_and_so_is_its_version(inputs):
    run = RunSpec.make(FinetuneSettings(), *inputs())
    plan = run.plan.model_copy(update={"optim": "adamw_8bit"})
    plain = RunIdentity.of(run).values
    values = RunIdentity.of(run.model_copy(update={"plan": plan})).values
    different = {key for key in values if values[key] != plain.get(key)}
    assert different == {"optim", "bitsandbytes"}


@pytest.fixture
def earlier(tmp_path, inputs):
    """The folder of a run that has a checkpoint, and what it was made of."""
    paths = inputs()
    made_of = identity(FinetuneSettings(), paths)
    run = open_run(tmp_path / "state", made_of)
    (run / "step-00000150").mkdir()
    return run, paths


def test_code_that_only_measures_or_publishes_is_named_as_it_is():
    assert set(code_files("finetune")) > NOT_OF_WEIGHTS
    # The planner's pages are in no training.
    pages = {"planning/memory_table.py", "planning/aligned_table.py"}
    assert not pages & set(code_of_weights())


@pytest.mark.parametrize(
    ("file", "changes"), [("measuring/speed.py", False), ("engines/loss.py", True)]
)
def test_an_interrupted_run_goes_on_after_a_change_that_decides_no_weight(
    earlier, monkeypatch, file, changes
):
    run, paths = earlier
    hashes = {file: "another"}
    monkeypatch.setattr(
        "retune.training.run_key.hash_file", lambda f: hashes.get(f) or hash_file(f)
    )
    assert (open_run(run.parent, identity(FinetuneSettings(), paths)) != run) is changes
