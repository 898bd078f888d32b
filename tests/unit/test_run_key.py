"""Which trainings are one, and what is said of those that are not."""

import pytest

from retune import configure
from retune.publishing import write_manifest, write_sealed
from retune.settings import ConfigureSettings, FinetuneSettings, HardwareSettings
from retune.training.run_key import identity_of, key_of, open_run
from tiny_facts import tiny_facts


@pytest.fixture
def inputs(tmp_path):
    """Return a function that plans, and gives the arguments of `identity_of`."""
    for name in ("base", "tokens"):
        (tmp_path / name).mkdir()
    tiny_facts().write(tmp_path / "base")
    for name in ("base", "tokens"):
        write_manifest(tmp_path / name)
    numbers = {"sequence_length": 32, "splits": {"train": {"blocks": 64}}}
    write_sealed(tmp_path / "tokens.json", numbers)

    def plan(ranks=2, **settings):
        folder = tmp_path / f"plan-{ranks}-{len(list(tmp_path.iterdir()))}"
        configure.run(
            ConfigureSettings(**settings),
            HardwareSettings(gpus_per_node=ranks),
            *(tmp_path / "base", tmp_path / "tokens.json", folder),
        )
        return [tmp_path / "base", tmp_path / "tokens", folder]

    return plan


@pytest.mark.parametrize(
    "change",
    [
        *({"save_steps": 7}, {"save_total_limit": 1}, {"save_only_model": True}),
        *({"load_best_model_at_end": True}, {"ddp_timeout": 60}),
    ],
)
def test_a_run_is_the_same_though_something_else_is_to_be_kept(inputs, change):
    paths = inputs()
    same = identity_of(FinetuneSettings(**change), *paths)
    assert key_of(same) == key_of(identity_of(FinetuneSettings(), *paths))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("zero_stage", [1, 2, 3])
def test_a_run_is_the_same_on_other_ranks_and_in_other_portions(
    inputs, precision, zero_stage
):
    batch = {"global_batch_size": 8, "precision": precision, "zero_stage": zero_stage}
    keys = {
        key_of(identity_of(FinetuneSettings(), *inputs(ranks, **batch, **portions)))
        for ranks, portions in ((1, {}), (2, {}), (2, {"micro_batch_size": 1}))
    }
    assert len(keys) == 1


@pytest.mark.parametrize(
    "change", [{"learning_rate": 1.0}, {"seed": 1}, {"lora": {"r": 2}}, {"epochs": 2.0}]
)
def test_another_setting_is_another_run(inputs, change):
    paths = inputs()
    other = identity_of(FinetuneSettings(**change), *paths)
    assert key_of(other) != key_of(identity_of(FinetuneSettings(), *paths))


def test_another_strategy_or_data_is_another_run(inputs, tmp_path):
    identities = [
        identity_of(FinetuneSettings(), *inputs(**settings))
        for settings in ({}, {"zero_stage": 3}, {"global_batch_size": 8})
    ]
    paths = inputs()
    write_manifest(tmp_path / "tokens", source="other")
    identities.append(identity_of(FinetuneSettings(), *paths))
    assert len({key_of(identity) for identity in identities}) == 4


@pytest.fixture
def earlier(tmp_path, inputs):
    """The folder of a run that has a checkpoint, and what it was made of."""
    paths = inputs()
    identity = identity_of(FinetuneSettings(), *paths)
    run = open_run(tmp_path / "state", identity)
    (run / "step-00000150").mkdir()
    return run, paths


def test_a_new_run_says_what_it_does_not_resume_and_why(earlier, tmp_path, caplog):
    run, paths = earlier
    settings = FinetuneSettings(learning_rate=1e-4, seed=3)
    assert open_run(run.parent, identity_of(settings, *paths)) != run
    assert caplog.messages == [
        f"a new training: that of {run}, at step 150, is not resumed:"
        ' finetune.learning_rate was "auto", is 0.0001; finetune.seed was 0, is 3'
    ]


def test_a_change_of_the_data_is_told_without_its_hash(earlier, tmp_path, caplog):
    run, paths = earlier
    write_manifest(tmp_path / "tokens", source="other")
    open_run(run.parent, identity_of(FinetuneSettings(), *paths))
    assert caplog.messages[0].endswith("is not resumed: the tokens changed")


def test_many_changes_are_counted(earlier, caplog):
    run, paths = earlier
    settings = FinetuneSettings(
        learning_rate=1, seed=3, epochs=2, weight_decay=0, warmup_ratio=0
    )
    open_run(run.parent, identity_of(settings, *paths))
    assert caplog.messages[0].endswith("; and 2 more")


def test_a_run_that_resumes_says_nothing_of_others(earlier, caplog):
    run, paths = earlier
    assert open_run(run.parent, identity_of(FinetuneSettings(), *paths)) == run
    assert not caplog.messages
