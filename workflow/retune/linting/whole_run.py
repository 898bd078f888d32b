"""The findings in numbers of the whole run."""

from collections.abc import Iterator

from retune.linting.finding import Finding, error
from retune.linting.read_config import ReadConfig


def whole_runs(config: ReadConfig) -> Iterator[Finding]:
    """Yield what is wrong with numbers that nothing checks."""
    clipping = config.value("gradient_clipping")
    if clipping is not None and clipping < 0:
        happens = f"{clipping:g}: DeepSpeed does not clip at all, silently"
        yield error("gradient_clipping", happens, "write a norm above 0, or 0 for none")
    is_replaced = config.training.transformers  # by Accelerate
    if config.value("steps_per_print") == 0 and not is_replaced:
        happens = "0: DeepSpeed divides by it and stops at the first step"
        yield error("steps_per_print", happens, "delete it to print nothing")
    if config.value("gradient_predivide_factor") == 0:
        happens = "0: DeepSpeed divides by it and stops at the first step"
        yield error("gradient_predivide_factor", happens, "delete it, or write 1")
