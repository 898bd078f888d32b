"""The findings in the three batch sizes, of which any two decide the third."""

import math
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
    written = [config.as_written(key) for key in SIZES]
    autos = written.count("auto")
    if wrong or splits or (autos and not config.training.transformers):
        return
    total, micro, steps = (size(config, key) for key in SIZES)
    replicas = data_parallel_size(config)
    if total is None and micro is None and not autos:
        happens = f"missing, as is {TOTAL}: DeepSpeed stops"
        yield error(MICRO, happens, "say how many samples a GPU takes at a time")
    elif total is None or replicas is None:
        return
    elif autos:
        yield from indivisible(config, total, (micro or 1) * (steps or 1), replicas)
    else:
        yield from wrong_total(config, total, micro, steps, replicas)


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
        elif not math.isfinite(value):
            yield error(key, "no number of samples", mend)
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
            return
    if config.given(SEQUENCE) and config.given(DATA):
        sequence, data = config.value(SEQUENCE), config.value(DATA)
        if sequence * data != gpus:
            happens = f"{data:g} x {SEQUENCE} {sequence:g} are not {gpus} GPUs"
            mend = f"write {gpus / sequence:g}, or delete it"
            yield error(DATA, f"{happens}: DeepSpeed refuses it", mend)


def size(config: ReadConfig, key: str) -> int | None:
    """Return one of the sizes, or None if the file leaves it to others."""
    value: Any = config.as_written(key)
    return None if value is MISSING or value in (None, "auto") else int(value)


def data_parallel_size(config: ReadConfig) -> int | None:
    """Return the number that DeepSpeed multiplies the micro-batch with.

    It is that of the copies of the model, or None if it is not known.
    DeepSpeed does not divide it by the size of its own tensor parallel groups.
    """
    parallel = model_parallel_size(config)
    if parallel is None or config.training.gpus % parallel:
        return None
    # The data parallel group of a pipeline, or of an mpu, is all that counts then.
    sequence = config.value(SEQUENCE) if parallel == 1 else 1
    return int(config.training.gpus // parallel // sequence)


def model_parallel_size(config: ReadConfig) -> int | None:
    """Return how many GPUs hold one copy of the model, or None if it is not known."""
    if config.training.model_parallel is not None:
        return config.training.model_parallel
    if not config.given("pipeline"):
        return 1
    stages = config.as_written("pipeline.stages")
    is_number = isinstance(stages, int) and not isinstance(stages, bool)
    return stages if is_number and stages > 0 else None


def indivisible(
    config: ReadConfig, total: int, known: int, replicas: int
) -> Iterator[Finding]:
    """Yield the finding for a total that no value of the sizes left out makes up.

    Args:
        config: The whole config.
        total: Samples per optimizer step.
        known: Product of the other sizes that are known.
        replicas: Number of copies of the model.
    """
    if total % (known * replicas):
        happens = f"{total} is no multiple of {known} x {copies(config, replicas)}"
        mend = f'write "auto", or a multiple of {known * replicas}'
        yield error(TOTAL, f"{happens}: it is refused", mend)


def copies(config: ReadConfig, replicas: int) -> str:
    """Return a number of copies of the model, for people."""
    word = "GPUs" if replicas == config.training.gpus else "copies of the model"
    return f"{replicas} {word}"


def wrong_total(
    config: ReadConfig, total: int, micro: int | None, steps: int | None, replicas: int
) -> Iterator[Finding]:
    """Yield the finding for a total that the other sizes do not make up.

    Args:
        config: The whole config.
        total: Samples per optimizer step.
        micro: Samples that a GPU takes at a time.
        steps: Micro-batches per optimizer step.
        replicas: Number of copies of the model.
    """
    of_all = copies(config, replicas)
    if micro is not None and steps is not None:
        product = micro * steps * replicas
        if product != total:
            happens = f"{total} is not {micro} x {steps} x {of_all} = {product}"
            mend = f"write {product}, or delete it: DeepSpeed multiplies by itself"
            if product % total == 0:
                mend += hint_at_pipelines(config)
            yield error(TOTAL, f"{happens}: DeepSpeed refuses it", mend)
        return
    known = micro if micro is not None else steps or 1
    rest = total // replicas // known
    what = STEPS if micro is not None else MICRO
    if rest * known * replicas != total:
        happens = f"{total} / {of_all} / {known} is rounded down to {rest} for {what}"
        mend = f"it takes a multiple of {replicas * known}"
        if replicas * known % total == 0:
            mend += hint_at_pipelines(config)
        yield error(TOTAL, f"{happens}: DeepSpeed refuses it", mend)


def hint_at_pipelines(config: ReadConfig) -> str:
    """Return a hint that fewer copies than GPUs may multiply, if that is not said."""
    if config.training.model_parallel is not None or config.given("pipeline"):
        return ""
    return "; of a pipeline, give --model-parallel"
