"""The files that hold a model's weights, by their names."""

import re
from collections.abc import Iterable

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
SHARD = re.compile(r"model-\d+-of-\d+\.safetensors")
PICKLES = (".bin", ".pt", ".pth", ".ckpt")
# How pickles begin that a training leaves beside the weights.
STATE_OF_TRAINING = ("optimizer", "scheduler", "scaler", "rng_state", "training_args")
# Weights of other libraries, or under names that Transformers does not read.
OTHER_FORMATS = (".h5", ".msgpack", ".onnx", ".safetensors")


def find_shards(names: Iterable[str]) -> list[str]:
    """Return the names of shards, into which Transformers divides large weights."""
    return sorted(name for name in names if SHARD.fullmatch(name))


def find_pickles(names: Iterable[str]) -> list[str]:
    """Return the names of pickled weights, in upper or lower case."""
    return sorted(
        name
        for name in names
        if name.lower().endswith(PICKLES)
        and not name.lower().startswith(STATE_OF_TRAINING)
    )


def find_other_formats(names: Iterable[str]) -> list[str]:
    """Return the names of weights in formats that are not read."""
    return sorted(name for name in names if name.lower().endswith(OTHER_FORMATS))
