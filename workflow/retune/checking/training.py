"""How many steps the training will take, and what is doubtful in that."""

from retune.artifacts.plan import Plan
from retune.artifacts.tokens_index import TokensIndex
from retune.checking.outcome import Outcome, failed
from retune.errors import RetuneError
from retune.quantities import counted
from retune.settings import FinetuneSettings
from retune.tokens.mixture import Mixture
from retune.training.schedules import (
    bf16_warnings,
    find_warnings,
    num_steps,
    resolve_learning_rate,
)


def check_training(
    settings: FinetuneSettings, source: str, plan: Plan, index: TokensIndex
) -> Outcome:
    """Return whether the training has steps enough, as `finetune` counts them.

    Args:
        settings: The section `finetune`.
        source: The setting `model.source`.
        plan: The plan.
        index: What the tokens are.
    """
    try:
        mixture = Mixture.of(index, settings.mix)
    except RetuneError as error:
        return failed(error)
    settings = resolve_learning_rate(settings, source)
    length = mixture.blocks_per_epoch, plan.global_batch_size
    total = num_steps(settings, *length)
    warnings = find_warnings(settings, *length)
    warnings += bf16_warnings(settings, plan.bf16_optimizer_states, total)
    found = f"{counted(total, 'step')} of {counted(plan.global_batch_size, 'sequence')}"
    return Outcome(found, warnings=tuple(warnings))
