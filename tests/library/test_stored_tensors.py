"""The tensors of safetensors files are listed as they are, and damage is seen."""

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from retune.models.stored_tensors import DTYPES, list_stored_tensors


def test_each_tensor_is_listed_with_its_dtype_shape_and_size(tmp_path):
    tensors = {
        name: torch.ones(3, 5, dtype=getattr(torch, name)) for name in DTYPES.values()
    }
    tensors["codes"] = torch.ones(2, dtype=torch.float8_e4m3fn)
    save_file(tensors, tmp_path / "model-1.safetensors")
    save_file({"scalar": torch.tensor(7.0)}, tmp_path / "model-2.safetensors")
    found = list_stored_tensors(tmp_path)
    assert found.keys() == {*tensors, "scalar"}
    for name in DTYPES.values():
        assert (found[name].dtype, found[name].shape) == (name, (3, 5))
        assert found[name].num_bytes == tensors[name].nbytes
        assert torch.equal(found[name].read(), tensors[name])
    assert found["codes"].dtype == "F8_E4M3"
    assert (found["scalar"].shape, found["scalar"].num_bytes) == ((), 4)


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-1],
        lambda data: data + b"\0",
        lambda data: b"\xff" * 8 + data[8:],
        lambda data: data.replace(b"[0,", b"[4,"),
        lambda data: data[:5],
        lambda data: b"",
    ],
    ids=["cut", "longer", "header's length", "offsets", "no header", "empty"],
)
def test_a_damaged_file_is_an_error(tmp_path, damage):
    path = tmp_path / "model.safetensors"
    save_file({"weight": torch.ones(4)}, path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(SafetensorError):
        list_stored_tensors(tmp_path)
