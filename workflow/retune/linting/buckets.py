"""The finding for buckets that cost more memory than they are worth."""

from collections.abc import Iterator

from retune.linting.finding import Finding, warning
from retune.linting.known_keys import DTYPES
from retune.linting.read_config import ZERO, ReadConfig
from retune.linting.zero_stage import overlaps, sums_in_bf16_optimizer
from retune.units import GB

KEY = f"{ZERO}.reduce_bucket_size"
BYTES = {"fp32": 4, "fp16": 2, "bf16": 2}
# What a bucket may take without a word, in bytes. DeepSpeed's default takes this much
# in 16 bits, with overlap_comm.
MUCH = 2 * GB
# As much, where it is known that the bucket is larger than the model.
MUCH_FOR_NOTHING = 0.5 * GB
GOOD_SIZE = "5e7"


def bucket_sizes(config: ReadConfig) -> Iterator[Finding]:
    """Yield the finding for a bucket that costs gigabytes."""
    if config.stage == 0 or not config.value(f"{ZERO}.contiguous_gradients"):
        return
    if config.is_filled_in(KEY) or sums_in_bf16_optimizer(config) is not False:
        return
    size = config.value(KEY)
    # DeepSpeed allocates a second one to fill while it sends the first, but at stage 3.
    count = 2 if overlaps(config) and config.stage < 3 else 1
    cost = count * size * bytes_of_gradient(config)
    parameters = config.training.num_parameters
    is_larger = parameters is not None and size > parameters
    if cost <= (MUCH_FOR_NOTHING if is_larger else MUCH):
        return
    buffers = "two buffers" if count == 2 else "a buffer"
    default = "" if config.given(KEY) else "the default, "
    memory = f"{buffers} of {cost / GB:.1f} GB in all on each GPU"
    happens = f"{default}{short(size)} elements: {memory}"
    if parameters is not None and is_larger:
        happens += f", for {short(parameters)} parameters"
    yield warning(KEY, happens, f"write {GOOD_SIZE}")


def bytes_of_gradient(config: ReadConfig) -> int:
    """Return the size of an element of the bucket."""
    accumulation = config.value("data_types.grad_accum_dtype")
    # Stage 1 keeps fp32 sums in its buckets; the others send what was computed.
    if config.stage == 1 and accumulation is not None:
        return BYTES[DTYPES[accumulation]]
    # Where only the Trainer knows, that of 16 bits: the memory is at least that.
    return BYTES[config.precision or "bf16"]


def short(number: float) -> str:
    """Return a number as in 5e7, which is short and JSON as well."""
    return f"{number:g}".replace("e+0", "e").replace("e+", "e")
