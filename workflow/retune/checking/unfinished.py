"""Whether `finetune` would stop before an unfinished training of another strategy."""

from importlib.metadata import PackageNotFoundError
from pathlib import Path

from retune.artifacts.publishing import MANIFEST
from retune.artifacts.run_spec import RunSpec
from retune.artifacts.tokens_index import TokensIndex
from retune.checking.sections import Sections
from retune.errors import RetuneError
from retune.planning.given_plan import take_given
from retune.settings import ConfigureSettings, FinetuneSettings, HardwareSettings
from retune.steps.configure import PlannedTraining, left_open
from retune.tokens.mixture import Mixture
from retune.training.run_key import RunIdentity
from retune.training.schedules import num_steps, resolve_learning_rate
from retune.training.unfinished import find_unfinished, refuse_other_strategy


def unfinished_problems(
    sections: Sections,
    source: str,
    planned: PlannedTraining,
    index: TokensIndex,
    folders: tuple[Path, Path, Path],
) -> tuple[str, ...]:
    """Return what `finetune` would refuse.

    Args:
        sections: The sections of params.yaml, of which those of a plan are right.
        source: The setting `model.source`.
        planned: The plan that `configure` would make.
        index: What the tokens are.
        folders: What fetch and tokenize have made, and the trainings.
    """
    base, tokens, state = folders
    finetune = sections.whole(FinetuneSettings)
    configure = sections.whole(ConfigureSettings)
    hardware = sections.whole(HardwareSettings)
    is_there = all((folder / MANIFEST).exists() for folder in (base, tokens))
    if not (finetune and configure and hardware and is_there):
        return ()
    settings = resolve_learning_rate(finetune, source)
    if given := take_given(configure, hardware):
        configure = given.settings
    plan = planned.plan
    spec = RunSpec(
        settings=settings,
        base=base,
        tokens=tokens,
        plan=plan,
        deepspeed=planned.config.values,
    )
    blocks = Mixture.of(index, settings.mix).blocks_per_epoch
    total = num_steps(settings, blocks, plan.global_batch_size)
    try:
        identity = RunIdentity.of(spec)
        unfinished = find_unfinished(state, identity)
        open_keys = left_open({"configure": configure, "hardware": hardware})
        refuse_other_strategy(unfinished, identity, open_keys, total)
    except PackageNotFoundError:  # which is told by the check of packages
        return ()
    except RetuneError as error:
        return (str(error),)
    return ()
