"""What is said of trainings that are not done, beside a new one."""

import os

import pytest
from pydantic import ValidationError

from plans import make_plan
from retune.artifacts.plan import REASONS
from retune.artifacts.publishing import write_manifest
from retune.artifacts.run_spec import RunSpec
from retune.errors import RetuneError
from retune.planning.deepspeed_config import deepspeed_config
from retune.planning.given_config import merged
from retune.settings import ConfigureSettings, FinetuneSettings, HardwareSettings
from retune.step_code import hash_file
from retune.steps import configure
from retune.training.run_key import OF_PLAN, RunIdentity, open_run
from retune.training.run_lock import only_run_in
from retune.training.unfinished import (
    CHOSEN,
    find_unfinished,
    read_left_open,
    refuse_other_strategy,
    tell_unfinished,
)
from tiny_facts import write_tiny_base
from token_files import make_token_metrics

ALL = frozenset(CHOSEN.values())
# As `configure` might choose for GPUs.
BEFORE = {"precision": "bf16", "chunked_cross_entropy": True}


@pytest.fixture
def identities(tmp_path):
    """Return a function that gives the identity of a training."""
    for name in ("base", "tokens"):
        (tmp_path / name).mkdir()
        write_manifest(tmp_path / name)

    def identity(plan=BEFORE, overrides=None, **finetune):
        made = make_plan(**plan)
        spec = RunSpec(
            settings=FinetuneSettings(**finetune),
            base=tmp_path / "base",
            tokens=tmp_path / "tokens",
            plan=made,
            deepspeed=merged(deepspeed_config(made), overrides or {}),
        )
        return RunIdentity.of(spec)

    return identity


@pytest.fixture
def earlier(tmp_path, identities):
    """The folder of a training that has a checkpoint."""
    run = open_run(tmp_path / "state", identities())
    (run / "step-00000150").mkdir()
    (run / "step-00000150/weights").write_bytes(b"0" * 2_000_000)
    return run


def refuse(run, identity, left_open=ALL):
    """Look at the trainings beside a new one; return what is refused."""
    unfinished = find_unfinished(run.parent, identity)
    try:
        refuse_other_strategy(unfinished, identity, left_open, 10_000)
    except RetuneError as error:
        return str(error)
    return None


def test_every_choice_that_makes_another_training_can_be_told():
    def may_be_auto(key):
        try:
            return ConfigureSettings(**{key: "auto"}).model_dump()[key] == "auto"
        except ValidationError:
            return False

    names = {"deepspeed_config", "overrides"}
    chosen = {key for key in ConfigureSettings.model_fields if may_be_auto(key)} - names
    # See `NOT_OF_DEEPSPEED`; what is computed again comes out the same.
    chosen -= {"micro_batch_size", "activation_checkpointing"}
    assert {f"configure.{key}" for key in chosen} == ALL - {"hardware.accelerator"}
    assert CHOSEN.keys() >= OF_PLAN & chosen


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"zero_stage": 3}, "configure.zero_stage was 2, is 3"),
        ({"offload_optimizer": "cpu"}, "configure.offload_optimizer was none, is cpu"),
        (
            {"zero_stage": 3, "offload_param": "cpu", "offload_optimizer": "cpu"},
            "configure.zero_stage was 2, is 3; configure.offload_optimizer was none, is"
            " cpu; configure.offload_param was none, is cpu",
        ),
        ({"precision": "fp32"}, "configure.precision was bf16, is fp32"),
        (
            {"chunked_cross_entropy": False},
            "configure.chunked_cross_entropy was true, is false",
        ),
        ({"attn_implementation": "eager"}, "was sdpa, is eager"),
        ({"accelerator": "cuda"}, "hardware.accelerator was cpu, is cuda"),
        ({"torch_compile": True}, "configure.torch_compile was false, is true"),
    ],
)
def test_another_choice_is_refused(earlier, identities, change, told):
    refused = refuse(earlier, identities(BEFORE | change))
    first, *rest = refused.splitlines()
    assert first.startswith(f"{earlier}: this training is at step 150 of 10,000 (saved")
    assert first.endswith(told)
    assert "      zero_stage: 2" in rest
    assert rest[-1] == (
        f"  to begin anew instead, remove it: rm -r {earlier}"
        f" ({(2_000_000 + (earlier / 'identity.json').stat().st_size) / 1e6:.1f} MB)"
    )


@pytest.mark.parametrize(
    "change",
    [
        {"gradient_clipping": 0.5},
        {"zero_stage": 3, "global_batch_size": 8},
        {"bf16_optimizer_states": True},
    ],
)
def test_what_somebody_changed_in_the_settings_begins(earlier, identities, change):
    identity = identities(BEFORE | change)
    assert identity.key != earlier.name
    assert refuse(earlier, identity) is None


def test_what_is_pinned_begins_and_so_does_another_learning_rate(earlier, identities):
    other = identities(BEFORE | {"zero_stage": 3})
    assert refuse(earlier, other, ALL - {"configure.zero_stage"}) is None
    lower = identities(BEFORE | {"zero_stage": 3}, learning_rate=1e-4)
    assert refuse(earlier, lower) is None


@pytest.mark.parametrize(
    ("overrides", "is_refused"),
    [
        # DeepSpeed has it with ZeRO-3 only: `configure` leaves it out before.
        ({"zero_optimization": {"sub_group_size": 1000}}, True),
        ({"communication_data_type": "fp32"}, False),
    ],
)
def test_what_the_user_gives_of_deepspeeds_config(
    earlier, identities, overrides, is_refused
):
    other = identities(BEFORE | {"zero_stage": 3}, overrides)
    assert (refuse(earlier, other) is not None) is is_refused
    alone = identities(BEFORE, overrides)
    assert refuse(earlier, alone) is None


def test_only_what_is_left_open_is_to_be_pinned(earlier, identities):
    other = identities(BEFORE | {"zero_stage": 3})
    refused = refuse(earlier, other, {"configure.zero_stage", "configure.precision"})
    assert refused.splitlines()[1:-1] == [
        "  to go on with it, write in params.yaml",
        *("    configure:", "      precision: bf16", "      zero_stage: 2"),
    ]


def test_a_training_that_goes_on_looks_at_no_other(earlier, identities):
    other = identities(BEFORE | {"zero_stage": 3})
    (open_run(earlier.parent, other) / "step-00000001").mkdir()
    assert refuse(earlier, other) is None


def test_the_choice_is_refused_though_a_newer_training_is_another(earlier, identities):
    newer = open_run(earlier.parent, identities(learning_rate=1.0))
    (newer / "step-00000001").mkdir()
    assert refuse(earlier, identities(BEFORE | {"zero_stage": 3})).startswith(
        f"{earlier}: this training is at step 150 "
    )


def test_reasons_say_what_was_left_open_and_may_be_missing(tmp_path):
    write_tiny_base(tmp_path / "base")
    make_token_metrics(64, 32).write(tmp_path / "tokens.json")
    plan = tmp_path / "plan"
    configure.run(
        *(ConfigureSettings(zero_stage=2), HardwareSettings()),
        *(tmp_path / "base", tmp_path / "tokens.json", plan),
    )
    pinned = {"configure.zero_stage", "hardware.accelerator"}
    assert read_left_open(plan) >= ALL - pinned
    assert not read_left_open(plan) & pinned
    (plan / REASONS).unlink()
    assert read_left_open(plan) == ALL


def tell(run, identity, caplog):
    """Return what is logged of the trainings beside a new one."""
    tell_unfinished(find_unfinished(run.parent, identity), identity)
    return caplog.messages


def test_a_new_training_says_what_it_does_not_resume_and_why(
    earlier, identities, caplog
):
    size = (2_000_000 + (earlier / "identity.json").stat().st_size) / 1e6
    assert tell(earlier, identities(learning_rate=1e-4, seed=3), caplog) == [
        f"a new training: that of {earlier}, at step 150, is not resumed:"
        ' finetune.learning_rate was "auto", is 0.0001; finetune.seed was 0, is 3. It'
        f" stays until you remove it: rm -r {earlier} ({size:.1f} MB)"
    ]


def test_a_change_of_the_data_is_told_without_its_hash(
    earlier, identities, tmp_path, caplog
):
    write_manifest(tmp_path / "tokens", source="other")
    (told,) = tell(earlier, identities(), caplog)
    assert "is not resumed: the tokens changed. It" in told


def test_many_changes_are_counted_and_so_are_other_trainings(
    earlier, identities, caplog
):
    (open_run(earlier.parent, identities(seed=9)) / "step-00000001").mkdir()
    changes = {"learning_rate": 1, "seed": 3, "epochs": 2, "weight_decay": 0}
    (told,) = tell(earlier, identities(warmup_ratio=0, **changes), caplog)
    assert "; and 2 more. It" in told
    assert told.endswith("; beside it are 1 more")


def test_a_training_that_resumes_says_nothing_of_others(earlier, identities, caplog):
    assert not tell(earlier, identities(), caplog)


def test_an_earlier_training_that_cannot_be_read_is_named_all_the_same(
    earlier, identities, caplog
):
    (earlier / "identity.json").write_text("{")
    identity = identities(seed=3)
    assert refuse(earlier, identity) is None
    (told,) = tell(earlier, identity, caplog)
    assert "is not resumed: it does not say what it was. It" in told


def test_other_code_is_told(earlier, identities, caplog, monkeypatch):
    hashes = {"engines/loss.py": "another"}
    monkeypatch.setattr(
        "retune.training.run_key.hash_file", lambda f: hashes.get(f) or hash_file(f)
    )
    identity = identities(BEFORE | {"zero_stage": 3})
    assert refuse(earlier, identity) is None
    (told,) = tell(earlier, identity, caplog)
    assert "zero_optimization.stage was 2, is 3; engines/loss.py changed. It" in told


def test_a_training_that_goes_on_is_not_to_be_removed(earlier, identities, caplog):
    with only_run_in(earlier):
        refused = refuse(earlier, identities(BEFORE | {"zero_stage": 3}))
        (told,) = tell(earlier, identities(seed=3), caplog)
    assert f"process {os.getpid()} on " in refused
    assert f"Process {os.getpid()} on " in told
    for said in (refused, told):
        assert "trains it now" in said
        assert "rm -r" not in said
    assert "rm -r" in refuse(earlier, identities(BEFORE | {"zero_stage": 3}))


def test_folders_that_somebody_has_put_there_disturb_nothing(
    earlier, identities, caplog
):
    (earlier / "step-00000200.old").mkdir()
    assert "at step 150 of" in refuse(earlier, identities(BEFORE | {"zero_stage": 3}))
    (earlier / "identity.json").write_text("[]")
    (told,) = tell(earlier, identities(seed=3), caplog)
    assert "it does not say what it was" in told


def test_the_same_training_in_another_folder_is_not_to_be_removed(
    earlier, identities, caplog
):
    identity = identities()
    earlier.rename(earlier.with_name("copy"))
    (told,) = tell(earlier, identity, caplog)
    assert told.endswith(f"to resume it, rename that to {identity.key}")
    assert "rm -r" not in told


def test_what_is_offloaded_to_a_disk_is_named(tmp_path, identities):
    nvme = BEFORE | {"zero_stage": 3, "offload_optimizer": "nvme"}
    run = open_run(tmp_path / "state", identities(nvme))
    (run / "step-00000001").mkdir()
    refused = refuse(run, identities(BEFORE | {"zero_stage": 3}))
    assert refused.endswith("and its folder of the same name under hardware.nvme_path")
