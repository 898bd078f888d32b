"""What we use of private names of DeepSpeed and PyTorch in checkpoints and builds.

A test that fails names the file of `retune.compat` to mend after an upgrade.
"""

import inspect
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import deepspeed
import pytest
import torch
from deepspeed.accelerator import get_accelerator
from torch.utils import cpp_extension, file_baton

from compat_contract import contract
from retune.compat import (
    deepspeed_builds,
    deepspeed_checkpoints,
    deepspeed_universal,
    pytorch_extensions,
    pytorch_pickles,
)

RANK = Path(__file__).parents[1] / "compat_checkpoint_rank.py"


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Return the folder of a rank's checkpoints, and the private names that it saw."""
    folder = tmp_path_factory.mktemp("saved")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {
        **{"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "DS_ACCELERATOR": "cpu"},
        **{"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)},
        **{"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
    }
    done = subprocess.run(
        [sys.executable, str(RANK), str(folder)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder, json.loads(done.stdout.strip().splitlines()[-1])


def live_weights(folder, name):
    return torch.load(folder / f"{name}-live.pt")


@contract("deepspeed_nvme")
def test_deepspeed_nvme_finds_its_private_names(saved):
    _, names = saved
    assert [name for name, there in names.items() if not there] == []


@contract("deepspeed_checkpoints")
def test_deepspeed_checkpoints_reads_a_whole_model(saved):
    folder, _ = saved
    path = folder / "zero1" / deepspeed_checkpoints.WHOLE_MODEL
    weights = deepspeed_checkpoints.read_whole_model(path)
    assert weights.pop("scale").item() == 0.5
    for name, live in live_weights(folder, "zero1").items():
        assert torch.equal(weights.pop(name), live), name
    assert not weights


@contract("deepspeed_checkpoints")
def test_deepspeed_checkpoints_reads_a_shard_of_zero_3(saved):
    folder, _ = saved
    shard = deepspeed_checkpoints.read_model_shard(folder / "zero3", 0)
    live = live_weights(folder, "zero3")
    assert {name: buffer.item() for name, buffer in shard.buffers.items()} == {
        "scale": 0.5
    }
    assert shard.frozen_shapes == {"frozen.weight": torch.Size([4, 3])}
    frozen = shard.frozen["frozen.weight"][:12].view(4, 3)
    assert torch.equal(frozen, live.pop("frozen.weight"))
    (shapes,) = shard.group_shapes
    assert shapes == {name: weight.shape for name, weight in live.items()}


@contract("deepspeed_checkpoints")
def test_deepspeed_checkpoints_reads_the_master_weights(saved):
    folder, _ = saved
    (masters,) = deepspeed_checkpoints.read_master_weights(folder / "zero3", 0)
    live = live_weights(folder, "zero3")
    del live["frozen.weight"]
    flat = torch.cat([weight.flatten() for weight in live.values()])
    assert torch.equal(masters[: flat.numel()], flat)


@pytest.mark.parametrize("name", ["zero1", "zero3"])
@contract("deepspeed_checkpoints")
def test_deepspeed_checkpoints_finds_the_moments(saved, name):
    folder, _ = saved
    pattern = deepspeed_checkpoints.OPTIMIZER_SHARD.format(rank=0)
    (path,) = (folder / name).glob(pattern)
    state = torch.load(path, weights_only=False)
    before = num_elements(state)
    assert deepspeed_checkpoints.drop_moments(state)
    assert not deepspeed_checkpoints.drop_moments(state)
    # 18 trained parameters have two moments each.
    assert before - num_elements(state) >= 2 * 18


def num_elements(state):
    """Return the number of floating-point elements of nested containers."""
    if torch.is_tensor(state):
        return state.numel() if state.is_floating_point() else 0
    if isinstance(state, dict):
        return sum(map(num_elements, state.values()))
    return sum(map(num_elements, state)) if isinstance(state, list | tuple) else 0


@contract("deepspeed_universal")
def test_deepspeed_universal_converts(saved, tmp_path):
    folder, _ = saved
    target = tmp_path / "universal"
    done = deepspeed_universal.convert_to_universal(folder / "zero3", target)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (target / "zero/trained.weight/fp32.pt").exists()


class Foreign:
    """An object that must not be made when a file is read."""

    def __init__(self):
        self.value = 1

    def __setstate__(self, state):
        raise AssertionError("code of another class was run")


@contract("pytorch_pickles")
def test_pytorch_pickles_reads_tensors_and_runs_no_other_code(tmp_path):
    tensors = {
        "plain": torch.arange(6.0).view(2, 3),
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "scalar": torch.tensor(3, dtype=torch.int64),
    }
    torch.save({**tensors, "size": torch.Size([2]), "other": Foreign()}, tmp_path / "f")
    found = pytorch_pickles.load_mapped(tmp_path / "f")
    assert isinstance(found.pop("other"), pytorch_pickles.Unread)
    assert found.pop("size") == torch.Size([2])
    assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())


@pytest.mark.parametrize("operator", ["cpu_adam", "async_io"])
@contract("deepspeed_builds")
def test_deepspeed_builds_finds_the_builders(operator, monkeypatch):
    builder = deepspeed_builds.builder_of(operator)
    assert builder.name == deepspeed_builds.EXTENSIONS[operator][-1]
    assert {"verbose"} <= inspect.signature(builder.is_compatible).parameters.keys()
    assert {"verbose"} <= inspect.signature(builder.load).parameters.keys()
    installed = dict.fromkeys(deepspeed_builds.EXTENSIONS[operator], True)
    info = deepspeed.git_version_info
    monkeypatch.setattr(info, "installed_ops", installed)
    monkeypatch.setattr(info, "accelerator_name", get_accelerator()._name)
    assert deepspeed_builds.extensions_to_build(operator) == []


@contract("deepspeed_builds")
def test_deepspeed_builds_knows_what_async_io_builds_first():
    from deepspeed.ops.op_builder.pin_memory import PinMemoryBuilder

    assert deepspeed_builds.EXTENSIONS["async_io"][0] == PinMemoryBuilder.NAME


@contract("pytorch_extensions")
def test_pytorch_extensions_knows_folder_and_lock(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))
    folder = pytorch_extensions.build_folder("cpu_adam")
    assert folder == tmp_path / "cpu_adam"
    assert folder.is_dir()
    name = pytorch_extensions.LOCK
    assert f"FileBaton(os.path.join(build_directory, '{name}'))" in inspect.getsource(
        cpp_extension
    )
    baton = file_baton.FileBaton(str(folder / name))
    assert baton.try_acquire()
    assert (folder / name).exists()
    baton.release()
    assert not (folder / name).exists()
