"""Under ZeRO-3 a model streams into shards: no rank needs memory for all of it."""

import json
import sys

import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM

from model_families import build_family
from retune.launching.this_machine import started
from retune.models.loading import load_whole
from retune.models.tensor_hashes import tensor_sha256
from retune.models.weight_names import named_weights
from tiny_run import make_base


@pytest.mark.parametrize("family", ["llama, tied", "gemma3", "mixtral", "deepseek_v3"])
def test_weights_are_rounded_once_as_deepspeed_would(tmp_path, family):
    base = build_family(family, tmp_path)
    whole = dict(named_weights(AutoModelForCausalLM.from_pretrained(base)))
    for dtype in (torch.bfloat16, torch.float16):
        rounded = dict(named_weights(load_whole(base, dtype, "sdpa")))
        assert rounded.keys() == whole.keys()
        for name, weight in rounded.items():
            assert torch.equal(weight.to(dtype), whole[name].to(dtype)), name


@pytest.mark.long
def test_no_rank_holds_the_model(tmp_path):
    base = tmp_path / "base"
    make_base(base, n_embd=1536, n_layer=8, n_head=8)
    tensors = read_all(base)
    size_gb = sum(t.nbytes for t in tensors.values()) / 1e9
    program = __file__.replace("library/test_model_loading", "loading_ranks")
    outputs = [tmp_path / f"rank{rank}" for rank in range(2)]
    command = [
        *[sys.executable, "-c", WRITES_TO_FILE],
        *[program, str(tmp_path), str(base)],
    ]
    with started(command, "cpu", 2) as ranks:
        assert [rank.wait(timeout=200) for rank in ranks.values()] == [0, 0]
    for output in outputs:
        said = json.loads(output.read_text().splitlines()[-1])
        # Half of the model, tensors that are gathered, and holes in the C heap.
        assert said["grown_gb"] < size_gb
        assert said["hashes"] == {n: tensor_sha256(t) for n, t in tensors.items()}


# `started` lets the ranks write where this process does.
WRITES_TO_FILE = """
import os, runpy, sys
program, folder = sys.argv[1:3]
sys.path.insert(0, os.path.dirname(program))
sys.stdout = open(f"{folder}/rank{os.environ['RANK']}", "w")
sys.argv = [program, sys.argv[3]]
runpy.run_path(program, run_name="__main__")
"""


def read_all(base):
    (path,) = base.glob("*.safetensors")
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
