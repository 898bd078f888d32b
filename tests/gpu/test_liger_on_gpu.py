"""Liger's kernels compute what the model's own code does, on a CUDA device."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from compat_contract import contract
from model_families import build_family
from plans import make_plan
from retune.compat.liger_kernel import liger_families
from retune.errors import RetuneError
from retune.models.liger_kernels import use_liger_kernels

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here"),
]
FAMILIES = ["llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3", "phi3"]


@pytest.fixture(autouse=True)
def installed():
    pytest.importorskip("liger_kernel")


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """Return the folder of what came out, and what the process said."""
    folder = tmp_path_factory.mktemp("liger")
    program = Path(__file__).parents[1] / "liger_on_gpu.py"
    paths = os.pathsep.join(path for path in sys.path if path)
    done = subprocess.run(
        [sys.executable, program, folder, *FAMILIES],
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
    )
    return folder, done.stderr[-4000:]


@pytest.mark.parametrize("family", FAMILIES)
def test_loss_and_gradients_are_those_of_plain_layers(compared, family):
    folder, said = compared
    table = folder / f"{family}.json"
    assert table.exists(), said
    found = json.loads(table.read_text())
    assert found["loss"] < 1e-5
    assert found["gradient"] < 2e-3


def test_a_family_without_kernels_is_named(tmp_path):
    with contract("liger_kernel"):
        assert "llama" in liger_families()
    model = AutoModelForCausalLM.from_pretrained(build_family("gpt2", tmp_path))
    plan = make_plan(accelerator="cuda", use_liger_kernel=True)
    with pytest.raises(RetuneError, match="Liger has no kernels for gpt2 models"):
        use_liger_kernels(model, plan)
