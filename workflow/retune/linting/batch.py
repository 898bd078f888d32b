"""The findings in the three batch sizes, of which any two decide the third."""

from collections.abc import Iterator
from typing import Any

from retune.linting.finding import Finding, error
from retune.linting.read_config import MISSING, ReadConfig

TOTAL = "train_batch_size"
MICRO = "train_micro_batch_size_per_gpu"
STEPS = "gradient_accumulation_steps"
SIZES = (TOTAL, MICRO, STEPS)
SEQUENCE, DATA = "sequence_parallel_size", "data_parallel_size"
TENSOR = "tensor_parallel.autotp_size"


def batch_sizes(config: ReadConfig) -> Iterator[Finding]:
    """Yield what is wrong with the batch sizes for the number of GPUs."""
    wrong = list(wrong_sizes(config))
    yield from wrong
    splits = list(wrong_splits(config))
    yield from splits
    if wrong or splits or any(config.as_written(key) == "auto" for key in SIZES):
        return
    total, micro, steps = (size(config, key) for key in SIZES)
    replicas = data_parallel_size(config)
    if total is None and micro is None:
        happens = f"missing, as is {TOTAL}: DeepSpeed stops"
        yield error(MICRO, happens, "say how many samples a GPU takes at a time")
    elif total is not None:
        yield from wrong_total(total, micro, steps, replicas)


def wrong_sizes(config: ReadConfig) -> Iterator[Finding]:
    """Yield the sizes that are no positive whole numbers."""
    mend = "it takes an integer at least 1"
    for key in SIZES:
        value = config.as_written(key)
        if value is MISSING or value is None or value == "auto":
            continue
        if isinstance(value, str):
            yield error(key, "a text: DeepSpeed stops with a TypeError", mend)
        elif isinstance(value, bool):
            yield error(key, f"DeepSpeed takes it as {int(value)}", mend)
        elif not isinstance(value, int | float):
            yield error(key, "no number: DeepSpeed stops with a TypeError", mend)
        elif value <= 0:
            yield error(key, f"{value:g}: DeepSpeed refuses it", mend)
        elif value % 1:
            yield error(key, f"{value:g}: DeepSpeed counts with the fraction", mend)


def wrong_splits(config: ReadConfig) -> Iterator[Finding]:
    """Yield the groups of GPUs that the number of GPUs does not make whole."""
    gpus = config.training.gpus
    for key in (SEQUENCE, TENSOR):
        group = config.value(key)
        if group and group > 0 and gpus % group:
            happens = f"{gpus} GPUs do not make groups of {group:g}"
            yield error(key, happens, f"it takes a divisor of {gpus}")


def size(config: ReadConfig, key: str) -> int | None:
    """Return one of the sizes, or None if the file leaves it to DeepSpeed."""
    value: Any = config.as_written(key)
    return None if value is MISSING or value is None else int(value)


def data_parallel_size(config: ReadConfig) -> int:
    """Return the number that DeepSpeed multiplies the micro-batch with.

    It does not divide it by the size of tensor parallel groups.
    """
    return int(config.training.gpus // config.value(SEQUENCE))


def wrong_total(
    total: int, micro: int | None, steps: int | None, replicas: int
) -> Iterator[Finding]:
    """Yield the finding for a total that the other sizes do not make up.

    Args:
        total: Samples per optimizer step.
        micro: Samples that a GPU takes at a time.
        steps: Micro-batches per optimizer step.
        replicas: Number of GPUs with data of their own.
    """
    if micro is not None and steps is not None:
        product = micro * steps * replicas
        if product != total:
            happens = f"{total} is not {micro} x {steps} x {replicas} GPUs = {product}"
            mend = f"write {product}, or delete it: DeepSpeed multiplies by itself"
            yield error(TOTAL, f"{happens}: DeepSpeed refuses it", mend)
        return
    known = micro if micro is not None else steps or 1
    rest = total // replicas // known
    what = STEPS if micro is not None else MICRO
    if rest * known * replicas != total:
        happens = (
            f"{total} / {replicas} GPUs / {known} is rounded down to {rest} for {what}"
        )
        mend = f"it takes a multiple of {replicas * known}"
        yield error(TOTAL, f"{happens}: DeepSpeed refuses it", mend)
