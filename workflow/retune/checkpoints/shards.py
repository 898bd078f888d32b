"""Read weights from a DeepSpeed checkpoint, one tensor at a time.

Files are mapped into memory: only the bytes of a tensor that is asked for are read, and
of an optimizer's states only the fp32 weights.
"""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import torch

from retune.compat.deepspeed_checkpoints import (
    MODEL_SHARD,
    WHOLE_MODEL,
    read_master_weights,
    read_model_shard,
    read_whole_model,
)
from retune.compat.pytorch_pickles import load_mapped
from retune.errors import RetuneError

# Reads one tensor and returns it, on the CPU, in the dtype that is asked for.
Reader = Callable[[torch.dtype], torch.Tensor]


def find_weights(
    checkpoint: Path, layers: Mapping[str, Mapping[str, str]] | None = None
) -> dict[str, Reader]:
    """Return the weights' names, as DeepSpeed has them, and how to read each.

    Args:
        checkpoint: Folder that `save_checkpoint` of any ZeRO stage, or of a pipeline,
            has written.
        layers: File -> name in the file -> name in the model; None if the checkpoint is
            not of a pipeline.

    Raises:
        RetuneError: If it is a checkpoint of another kind.
    """
    if layers is not None:
        return find_in_layers(checkpoint, layers)
    if (checkpoint / WHOLE_MODEL).exists():
        weights = read_whole_model(checkpoint / WHOLE_MODEL)
        if weights is None:
            raise RetuneError(
                f"{checkpoint / WHOLE_MODEL} has no weights: it is a pipeline's, and"
                " weights.json does not name its layers"
            )
        return readers_of(weights)
    first = MODEL_SHARD.format(rank=0)
    if (checkpoint / first).exists():
        return find_in_partitions(checkpoint)
    raise RetuneError(
        f"{checkpoint}: neither {WHOLE_MODEL} nor {first} is there: no checkpoint of"
        " ZeRO 0 to 3"
    )


def readers_of(weights: Mapping[str, torch.Tensor]) -> dict[str, Reader]:
    """Return how to read tensors that are stored as they are in the model."""
    return {name: partial(read_whole, tensor) for name, tensor in weights.items()}


def find_in_layers(
    checkpoint: Path, layers: Mapping[str, Mapping[str, str]]
) -> dict[str, Reader]:
    """Return the weights of a pipeline; of copies on several stages, the first."""
    readers: dict[str, Reader] = {}
    for file, names in sorted(layers.items()):
        # DeepSpeed writes no second file for a tied layer.
        if not (checkpoint / file).exists():
            continue
        found = readers_of(load_mapped(checkpoint / file))
        for local, name in names.items():
            if local in found:
                readers.setdefault(name, found[local])
    return readers


def find_in_partitions(checkpoint: Path) -> dict[str, Reader]:
    """Return the weights of a ZeRO-3 checkpoint.

    Each parameter is flattened, padded to a multiple of the ranks and cut into as many
    partitions. A rank joins its partitions of one sub-group of parameters into one fp32
    tensor, the master weights: rounded to the training's dtype, they are the live ones.
    Frozen parameters have no master weights; each partition is stored by itself.
    """
    ranks = count_ranks(checkpoint)
    shards = [read_model_shard(checkpoint, rank) for rank in ranks]
    masters = [read_master_weights(checkpoint, rank) for rank in ranks]
    readers = readers_of(shards[0].buffers)
    for name, shape in shards[0].frozen_shapes.items():
        partitions = [shard.frozen[name] for shard in shards]
        readers[name] = partial(read_partitions, partitions, shape)
    for group, shapes in enumerate(shards[0].group_shapes):
        start = 0
        for name, shape in shapes.items():
            length = -(-shape.numel() // len(ranks))
            partitions = [master[group][start : start + length] for master in masters]
            readers[name] = partial(read_partitions, partitions, shape)
            start += length
    return readers


def count_ranks(checkpoint: Path) -> range:
    """Return the ranks of a ZeRO-3 checkpoint, from 0."""
    return range(len(list(checkpoint.glob(MODEL_SHARD.format(rank="*")))))


def read_whole(tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Return a mapped tensor in a dtype."""
    return tensor.detach().to(dtype)


def read_partitions(
    partitions: list[torch.Tensor], shape: torch.Size, dtype: torch.dtype
) -> torch.Tensor:
    """Return a parameter joined from its flat partitions.

    Args:
        partitions: One from each rank, equally long; the last ones end with padding.
        shape: Shape of the parameter.
        dtype: Dtype to return.
    """
    joined = torch.empty(sum(map(len, partitions)), dtype=dtype)
    # copy_ rounds to the dtype, much faster than torch.cat does.
    places = joined.split(len(partitions[0]))
    for partition, place in zip(partitions, places, strict=True):
        place.copy_(partition)
    return joined[: shape.numel()].view(shape)
