"""Read weights from a DeepSpeed checkpoint, one tensor at a time.

Files are mapped into memory: only the bytes of a tensor that is asked for are read, and
of an optimizer's states only the fp32 weights.
"""

import pickle
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from retune.errors import RetuneError

# Reads one tensor and returns it, on the CPU, in the dtype that is asked for.
Reader = Callable[[torch.dtype], torch.Tensor]

WHOLE = "mp_rank_00_model_states.pt"
SHARD = "zero_pp_rank_{rank}_mp_rank_00_model_states.pt"
# With bf16, DeepSpeed puts `bf16_` in front.
OPTIMIZER = "*zero_pp_rank_{rank}_mp_rank_00_optim_states.pt"
# Of ZeRO-3 with optimizer states on NVMe: flat fp32 files, padded at the end.
SWAPPED = "offloaded_tensors/rank{rank:02d}/{group}.tensor.swp"


def find_weights(
    checkpoint: Path, layers: dict[str, dict[str, str]] | None = None
) -> dict[str, Reader]:
    """Return the weights' names, as DeepSpeed has them, and how to read each.

    Args:
        checkpoint: What `save_checkpoint` of any ZeRO stage or a pipeline has written.
        layers: Of a pipeline: file -> name in the file -> name in the model.
    """
    if layers is not None:
        return find_in_layers(checkpoint, layers)
    if (checkpoint / WHOLE).exists():
        states = load_states(checkpoint / WHOLE).get("module")
        if states is None:
            raise RetuneError(
                f"{checkpoint / WHOLE} has no weights: it is a pipeline's, and weights"
                ".json does not name its layers"
            )
        return find_in_states(states)
    if (checkpoint / SHARD.format(rank=0)).exists():
        return find_in_partitions(checkpoint)
    raise RetuneError(
        f"{checkpoint}: neither {WHOLE} nor {SHARD.format(rank=0)} is there: no"
        " checkpoint of ZeRO 0 to 3"
    )


def find_in_states(states: dict[str, torch.Tensor]) -> dict[str, Reader]:
    """Return whole weights: ZeRO 0 to 2 save them as they are in the model."""
    return {name: partial(read_whole, tensor) for name, tensor in states.items()}


def find_in_layers(
    checkpoint: Path, layers: dict[str, dict[str, str]]
) -> dict[str, Reader]:
    """Return the weights of a pipeline; of copies on several stages, the first."""
    readers: dict[str, Reader] = {}
    for file, names in sorted(layers.items()):
        # Of a tied layer, DeepSpeed writes no second file.
        if not (checkpoint / file).exists():
            continue
        found = find_in_states(load_states(checkpoint / file))
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
    models = [load_states(checkpoint / SHARD.format(rank=rank)) for rank in ranks]
    masters = [load_masters(checkpoint, rank) for rank in ranks]
    buffers = models[0]["buffer_names"]
    readers = find_in_states({name: models[0]["module"][name] for name in buffers})
    for name, shape in (models[0]["frozen_param_shapes"] or {}).items():
        parts = [model["frozen_param_fragments"][name] for model in models]
        readers[name] = partial(read_partitions, parts, shape)
    for group, shapes in enumerate(models[0]["param_shapes"]):
        start = 0
        for name, shape in shapes.items():
            length = -(-shape.numel() // len(ranks))
            parts = [master[group][start : start + length] for master in masters]
            readers[name] = partial(read_partitions, parts, shape)
            start += length
    return readers


def count_ranks(checkpoint: Path) -> range:
    """Return the ranks of a ZeRO-3 checkpoint, from 0."""
    return range(len(list(checkpoint.glob(SHARD.format(rank="*")))))


def load_masters(checkpoint: Path, rank: int) -> list[torch.Tensor]:
    """Return a rank's fp32 weights, one flat tensor per sub-group, mapped."""
    paths = list(checkpoint.glob(OPTIMIZER.format(rank=rank)))
    if len(paths) != 1:
        pattern = OPTIMIZER.format(rank=rank)
        raise RetuneError(f"{checkpoint}: {len(paths)} files {pattern} instead of one")
    states = load_states(paths[0]).get("optimizer_state_dict", {})
    if "fp32_flat_groups" not in states:
        raise RetuneError(f"{paths[0]} has no fp32_flat_groups: it is not of ZeRO-3")
    masters = []
    for master in states["fp32_flat_groups"]:
        if master.numel() == 0 and hasattr(master, "ds_id"):
            path = checkpoint / SWAPPED.format(rank=rank, group=master.ds_id)
            numel = path.stat().st_size // master.dtype.itemsize
            master = torch.from_file(  # noqa: PLW2901 - where it really is
                str(path), shared=False, size=numel, dtype=master.dtype
            )
        masters.append(master.detach())
    return masters


def read_whole(tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Return a mapped tensor."""
    return tensor.detach().to(dtype)


def read_partitions(
    parts: list[torch.Tensor], shape: torch.Size, dtype: torch.dtype
) -> torch.Tensor:
    """Return a parameter joined from its flat partitions."""
    joined = torch.empty(sum(map(len, parts)), dtype=dtype)
    # copy_ rounds to the dtype, much faster than torch.cat does.
    for part, place in zip(parts, joined.split(len(parts[0])), strict=True):
        place.copy_(part)
    return joined[: shape.numel()].view(shape)


def load_states(path: Path) -> dict[str, Any]:
    """Return what a file of DeepSpeed holds; tensors are mapped, not read."""
    return torch.load(
        path,
        map_location="cpu",
        mmap=True,
        weights_only=False,
        pickle_module=SimpleNamespace(__name__=__name__, Unpickler=DataUnpickler),
    )


class DataUnpickler(pickle.Unpickler):
    """Unpickles tensors and containers; of other classes, nothing is run."""

    def find_class(self, module: str, name: str) -> Any:
        """Return a class or function by name, `Unread` if no tensor needs it."""
        if (module, name) in DATA:
            return super().find_class(module, name)
        return Unread


DATA = {
    ("collections", "OrderedDict"),
    ("torch", "Size"),
    ("torch", "Tensor"),
    ("torch._tensor", "_rebuild_from_type_v2"),
    ("torch._utils", "_rebuild_parameter"),
    ("torch._utils", "_rebuild_tensor_v2"),
    ("torch.nn.parameter", "Parameter"),
}


class Unread:
    """In place of DeepSpeed's own objects, such as its loss scaler."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        """Take what the real class takes."""

    def __setstate__(self, state: Any) -> None:
        """Forget the state."""
