"""`check` tells what `finetune` would stop before: another strategy's training."""

import pytest

from retune.artifacts.model_facts import ModelFacts
from retune.artifacts.publishing import write_manifest
from retune.artifacts.run_spec import RunSpec
from retune.artifacts.tokens_index import SplitSize, TokensIndex
from retune.checking.sections import Sections
from retune.checking.unfinished import unfinished_problems
from retune.planning.hardware import resolve_hardware
from retune.settings import ConfigureSettings, FinetuneSettings, HardwareSettings
from retune.steps.configure import NO_ADAPTERS, plan_training
from retune.training.run_key import RunIdentity, open_run
from retune.training.schedules import resolve_learning_rate
from tiny_facts import write_tiny_base

SIZE = SplitSize(documents=9, sequences=9, tokens=9, bytes=9, blocks=64)
INDEX = TokensIndex(
    sequence_length=32,
    has_answers=False,
    packing="wrap",
    vocab_size=9,
    splits=dict.fromkeys(("train", "validation", "test"), SIZE),
    dtype="<u2",
    bos_token_id=0,
    eos_token_id=0,
    tokenizer_sha256="",
)


@pytest.fixture
def check(tmp_path):
    """Return a function that plans, checks, and then leaves a training of the plan."""
    folders = tmp_path / "base", tmp_path / "tokens", tmp_path / "state"
    write_tiny_base(folders[0])
    write_manifest(folders[0])
    folders[1].mkdir()
    write_manifest(folders[1])

    def planned_and_checked(settings, **finetune):
        configure, hardware = ConfigureSettings(**settings), HardwareSettings()
        planned = plan_training(
            *(configure, NO_ADAPTERS, resolve_hardware(hardware), folders[0]),
            *(ModelFacts.read(folders[0]), (32, 64), None),
        )
        training = FinetuneSettings(**finetune)
        sections = Sections(
            {"configure": configure, "hardware": hardware, "finetune": training}
        )
        problems = unfinished_problems(sections, "local", planned, INDEX, folders)
        spec = RunSpec(
            settings=resolve_learning_rate(training, "local"),
            base=folders[0],
            tokens=folders[1],
            plan=planned.plan,
            deepspeed=planned.config.values,
        )
        run = open_run(folders[2], RunIdentity.of(spec))
        (run / "step-00000003").mkdir(exist_ok=True)
        return problems, run

    return planned_and_checked


def test_only_a_strategy_that_nobody_asked_for_is_told(check):
    nothing, run = check({"zero_stage": 3})
    assert nothing == ()
    (told,), _ = check({})
    assert told.startswith(f"{run}: this training is at step 3 of 4 (saved ")
    assert "configure.zero_stage was 3, is 2\n" in told
    # Now it has a training of its own, which goes on.
    assert check({})[0] == ()
    assert check({"zero_stage": 1})[0] == ()
    assert check({"chunked_cross_entropy": False}, seed=1)[0] == ()
