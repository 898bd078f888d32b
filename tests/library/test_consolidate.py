"""Checkpoints of every layout become the model that was trained, or nothing."""

import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from checkpoint_worker import IDS, nvme_is_built
from flipped_bit import flip_a_bit
from retune.artifacts.model_facts import StoredWeights
from retune.artifacts.publishing import read_json, sha256, write_json, write_manifest
from retune.checkpoints.checkpoint_files import find_damage, link_folder
from retune.checkpoints.moments import leave_out_moments
from retune.errors import RetuneError
from retune.models.tensor_hashes import tensor_sha256
from retune.models.weight_files import read_back
from retune.settings import ConsolidateSettings
from retune.steps import consolidate
from tiny_facts import tiny_facts
from tiny_run import TinyRun, make_base

WORKER = Path(__file__).parents[1] / "checkpoint_worker.py"
NO_DROPOUT = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
ALL_WEIGHTS = [
    f"zero{stage}-{precision}"
    for stage in (0, 1, 2, 3)
    for precision in ("fp32", "bf16")
    if (stage, precision) != (0, "bf16")  # Of stage 0, bf16 is one Adam step off.
] + ["offload-cpu"]
PIPELINES = ["pipeline-fp32", "pipeline-bf16"]
ADAPTERS = [
    *("lora2-fp32", "lora3-bf16", "lora2-bf16-bare", "lora3-fp32-bare"),
    *("lora2-bf16-dora", "lora3-fp32-dora"),
]
NVME = pytest.param(
    "offload-nvme",
    marks=pytest.mark.skipif(
        not nvme_is_built(), reason="DeepSpeed's async_io is not compiled here"
    ),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder of checkpoints, written by two ranks."""
    folder = tmp_path_factory.mktemp("checkpoints")
    make_base(folder / "base", **NO_DROPOUT)
    # Large enough that DeepSpeed does swap: from 1 MiB on.
    make_base(folder / "wide", n_embd=128, vocab_size=4000, **NO_DROPOUT)
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    result = subprocess.run(
        [sys.executable, *launcher, WORKER, folder],
        env={
            **os.environ,
            "DS_ACCELERATOR": "cpu",
            "GLOO_SOCKET_IFNAME": "lo",
            "OMP_NUM_THREADS": "1",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-4000:]
    write_staged_base(folder / "staged", live_weights(folder / "pipeline-fp32"))
    return folder


def write_staged_base(folder, live):
    """Write the base model of the pipelines, whose layers are not transformers'."""
    folder.mkdir()
    tensors = {name: torch.zeros(tensor["shape"]) for name, tensor in live.items()}
    save_file(tensors, folder / "model.safetensors")
    weights = [StoredWeights(stored=(name,), weights=(name,)) for name in tensors]
    tiny_facts(weights=weights).write(folder)
    write_manifest(folder)


def base_of(checkpoint, folder):
    """Return the base model of a checkpoint, by its layers."""
    if (checkpoint / "layer_00-model_states.pt").exists():
        return folder / "staged"
    has_swapped = (checkpoint / "offloaded_tensors").exists()
    return folder / ("wide" if has_swapped else "base")


def join(checkpoint, target, base=None, **settings):
    """Consolidate a checkpoint into `target`; return that."""
    base = base or base_of(checkpoint, checkpoint.parent)
    consolidate.run(ConsolidateSettings(**settings), base, checkpoint, target)
    return target


def weights_of(model):
    return {
        name: tensor
        for path in model.glob("*.safetensors")
        for name, tensor in load_file(path).items()
    }


def live_weights(checkpoint):
    return read_json(checkpoint / "weights.json")["tensors"]


@pytest.mark.parametrize("name", [*ALL_WEIGHTS, *PIPELINES, NVME])
def test_every_layout_gives_the_live_weights(folder, tmp_path, name):
    live = live_weights(folder / name)
    weights = weights_of(join(folder / name, tmp_path / "model"))
    assert weights.keys() == live.keys()
    for key, tensor in weights.items():
        assert tensor.dtype == torch.float32  # as in the base model's files
        as_live = tensor.to(getattr(torch, live[key]["dtype"]))
        assert tensor_sha256(as_live) == live[key]["sha256"], key


@pytest.mark.parametrize("name", ["zero2-bf16", "zero3-fp32"])
def test_transformers_loads_the_model(folder, tmp_path, name):
    path = join(folder / name, tmp_path / "model")
    model, info = AutoModelForCausalLM.from_pretrained(path, output_loading_info=True)
    assert not any(info.values())
    assert model.dtype == torch.float32  # as in the base model's files
    assert model.lm_head.weight.data_ptr() == model.transformer.wte.weight.data_ptr()
    base = AutoModelForCausalLM.from_pretrained(folder / "base")
    assert not torch.equal(model.lm_head.weight, base.lm_head.weight)
    assert not list(path.parent.glob(".*"))


@pytest.mark.parametrize("name", ["zero3-bf16", "lora2-fp32", "pipeline-fp32"])
def test_small_shards_hold_the_same_model(folder, tmp_path, name):
    whole = weights_of(join(folder / name, tmp_path / "whole"))
    path = join(folder / name, tmp_path / "parts", max_shard_size_gb=5e-6)
    assert len(list(path.glob("*.safetensors"))) > 1
    index = read_json(path / "model.safetensors.index.json")
    assert index["weight_map"].keys() == whole.keys()
    parts = weights_of(path)
    assert parts.keys() == whole.keys()
    assert all(torch.equal(parts[key], whole[key]) for key in whole)


@pytest.mark.parametrize("name", ADAPTERS)
def test_adapters_are_published_and_merged(folder, tmp_path, name):
    precision = "bfloat16" if "bf16" in name else "float32"
    path = join(folder / name, tmp_path / "model", dtype=precision)
    dtype = getattr(torch, precision)
    base = AutoModelForCausalLM.from_pretrained(folder / "base", dtype=dtype)
    start = {key: value.clone() for key, value in base.state_dict().items()}
    adapted = PeftModel.from_pretrained(base, path / "adapter").eval()
    live = torch.load(folder / f"{name}-logits.pt")
    merged, info = AutoModelForCausalLM.from_pretrained(path, output_loading_info=True)
    assert not any(info.values())
    # Logits are below 1; a difference of one bf16 rounding of the weights stays.
    bound = 1e-6 if dtype == torch.float32 else 0.02
    with torch.no_grad():
        assert (adapted(input_ids=IDS).logits - live).abs().max() <= bound
        assert (merged(input_ids=IDS).logits - live).abs().max() <= bound
    ours, peft = merged.state_dict(), adapted.merge_and_unload().state_dict()
    step = torch.finfo(dtype).eps
    for key, tensor in ours.items():
        torch.testing.assert_close(tensor, peft[key], rtol=2 * step, atol=step)
        has_adapter = ".c_" in key and key.endswith("weight") and "mlp.c_fc" not in key
        assert torch.equal(tensor, start[key]) != has_adapter, key


def test_adapters_in_bf16_are_rounded_once(folder, tmp_path):
    name = "lora2-bf16-bare"
    path = join(folder / name, tmp_path / "model")
    base = load_file(folder / "base" / "model.safetensors")
    adapters = load_file(path / "adapter" / "adapter_model.safetensors")
    ours = weights_of(path)
    key = "transformer.h.1.attn.c_attn"
    a, b = (adapters[f"base_model.model.{key}.lora_{x}.weight"].float() for x in "AB")
    # W as it was trained, though the base model's files have it in fp32; alpha is 16.
    merged = base[f"{key}.weight"].bfloat16().float() + 16 / math.sqrt(4) * (b @ a).T
    torch.testing.assert_close(ours[f"{key}.weight"], merged, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lora_bias": True}, "lora_bias cannot be merged"),
        ({"bias": "all"}, "bias cannot be merged"),
        ({"fan_in_fan_out": False}, r"c_attn.weight is \[16, 48\]"),
    ],
)
def test_adapters_of_another_kind_are_not_merged(folder, tmp_path, change, message):
    checkpoint = copy_of(folder / "lora2-fp32", tmp_path)
    weights = read_json(checkpoint / "weights.json")
    weights["lora"] |= change
    write_json(checkpoint / "weights.json", weights)
    write_manifest(checkpoint)
    refuse(checkpoint, folder, tmp_path, message)


def copy_of(checkpoint, tmp_path):
    return Path(shutil.copytree(checkpoint, tmp_path / "checkpoint"))


def refuse(checkpoint, folder, tmp_path, message):
    """Check that nothing is published, and the sentence why."""
    target = tmp_path / "refused" / "model"
    with pytest.raises(RetuneError, match=message) as error:
        join(checkpoint, target, base_of(checkpoint, folder))
    assert "\n" not in str(error.value)
    assert not list(target.parent.glob("**/*"))


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("zero2-fp32", "transformer.wte.weight"),
        ("zero3-bf16", "transformer.wpe.weight"),
        ("pipeline-bf16", "h.2.scale"),
        ("lora2-fp32", "transformer.h.1.attn.c_attn.weight"),
        ("lora3-fp32-bare", "transformer.wte.weight"),
        (
            "lora3-bf16",
            "base_model.model.transformer.h.0.attn.c_proj.lora_B.weight",
        ),
    ],
)
def test_a_weight_unlike_the_live_one_is_not_published(folder, tmp_path, name, key):
    checkpoint = copy_of(folder / name, tmp_path)
    weights = read_json(checkpoint / "weights.json")
    weights["tensors"][key]["sha256"] = "0" * 64
    write_json(checkpoint / "weights.json", weights)
    write_manifest(checkpoint)
    refuse(checkpoint, folder, tmp_path, f"{key} differs from the weight at the end")


@pytest.mark.parametrize("name", ["zero0-fp32", "zero3-fp32", "pipeline-fp32"])
def test_a_weight_that_is_not_there_is_named(folder, tmp_path, name):
    checkpoint = copy_of(folder / name, tmp_path)
    weights = read_json(checkpoint / "weights.json")
    weights["tensors"]["lost.weight"] = dict(next(iter(weights["tensors"].values())))
    write_json(checkpoint / "weights.json", weights)
    write_manifest(checkpoint)
    refuse(checkpoint, folder, tmp_path, r"lacks 1 of \d+ weights, such as lost.weight")


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("zero1-bf16", "mp_rank_00_model_states.pt"),
        ("zero3-bf16", "bf16_zero_pp_rank_1_mp_rank_00_optim_states.pt"),
        ("zero3-fp32", "zero_pp_rank_0_mp_rank_00_model_states.pt"),
        ("pipeline-fp32", "layer_01-model_states.pt"),
    ],
)
def test_a_damaged_file_is_named(folder, tmp_path, name, file):
    checkpoint = copy_of(folder / name, tmp_path)
    path = checkpoint / file
    whole = path.read_bytes()
    # Each tensor's bytes, the pickle in front and the directory at the end.
    path.write_bytes(bytes(byte ^ 255 for byte in whole))
    refuse(
        checkpoint, folder, tmp_path, f"{file} is not what finetune wrote: its bytes"
    )
    path.write_bytes(whole + b"more")
    refuse(checkpoint, folder, tmp_path, f"{file} is .* bytes instead of")
    path.unlink()
    refuse(checkpoint, folder, tmp_path, f"{file}, which finetune writes, is missing")
    path.write_bytes(whole)
    path.with_name(f"more-{file}").touch()
    refuse(checkpoint, folder, tmp_path, f"more-{file} was not written by finetune")


def test_a_base_model_that_changed_is_named_where_adapters_are_merged(folder, tmp_path):
    base = Path(shutil.copytree(folder / "base", tmp_path / "base"))
    flip_a_bit(base / "model.safetensors")
    checkpoint = folder / "lora3-fp32-bare"
    with pytest.raises(RetuneError) as error:
        join(checkpoint, tmp_path / "refused/model", base)
    assert str(error.value).startswith(
        f"{base}/model.safetensors is not what fetch wrote: its bytes have changed"
    )
    assert not list((tmp_path / "refused").glob("**/*"))


def test_a_file_of_another_kind_is_refused(folder, tmp_path):
    checkpoint = copy_of(folder / "zero3-bf16", tmp_path)
    for path in checkpoint.glob("*_model_states.pt"):
        path.unlink()
    write_manifest(checkpoint)
    refuse(checkpoint, folder, tmp_path, "no checkpoint of ZeRO 0 to 3")


def test_what_the_disk_spoils_is_noticed(folder, tmp_path):
    model = join(folder / "zero2-fp32", tmp_path / "model")
    live = live_weights(folder / "zero2-fp32")
    hashes = {name: tensor["sha256"] for name, tensor in live.items()}
    read_back(model / "model.safetensors", hashes)
    with (model / "model.safetensors").open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        byte = file.read(1)
        file.seek(-1, os.SEEK_END)
        file.write(bytes([byte[0] ^ 1]))
    last = max(hashes)  # they are in alphabetical order
    with pytest.raises(RetuneError, match=f"safetensors: {last} on disk differ"):
        read_back(model / "model.safetensors", hashes)


@pytest.mark.parametrize("name", [*ALL_WEIGHTS, *PIPELINES, *ADAPTERS, NVME])
def test_the_moments_can_be_left_out(folder, tmp_path, name):
    whole, published = folder / name, tmp_path / "published"
    base = base_of(whole, folder)
    published.mkdir()
    link_folder(whole, published)
    leave_out_moments(whole, published)
    assert find_damage(whole) is None
    assert find_damage(published) is None
    assert holds_moments(whole)
    assert not holds_moments(published)
    trained = {
        key: torch.Size(tensor["shape"]).numel()
        for key, tensor in live_weights(whole).items()
        if ("lora_" in key or "lora" not in name) and not key.endswith("scale")
    }
    # Both stages of the pipeline hold the tied embedding.
    copies = trained["wte.weight"] if name in PIPELINES else 0
    saved = num_bytes(whole) - num_bytes(published)
    assert saved == pytest.approx(8 * (sum(trained.values()) + copies), rel=0.3)
    models = [join(c, tmp_path / c.name, base) for c in (whole, published)]
    assert len({sha256(model / "model.safetensors") for model in models}) == 1


def holds_moments(checkpoint):
    files = [path for path in checkpoint.rglob("*") if path.is_file()]
    return any(
        "exp_avg" in path.name or b"exp_avg" in path.read_bytes()
        for path in files
        if path.suffix in (".pt", ".swp")
    )


def num_bytes(folder):
    return sum(path.stat().st_size for path in folder.rglob("*"))


@pytest.mark.parametrize(
    ("plan", "settings"),
    [
        ({"zero_stage": 3, "precision": "bf16"}, {}),
        ({"zero_stage": 2}, {"lora": {"r": 4}}),
        ({"pipeline_stages": 2}, {}),
    ],
    ids=["zero3", "lora", "pipeline"],
)
def test_what_finetune_saves_is_enough(tmp_path, plan, settings):
    run = TinyRun(tmp_path)
    run.make_inputs()
    tuned = run.finetune(
        run.plan("plan", **plan), "tuned", max_steps=1, save_only_model=True, **settings
    )
    assert not holds_moments(tuned.folder / "checkpoint")
    dtype = next(iter(tuned.weights.values()))["dtype"]
    path = tuned.consolidate(dtype=dtype)
    _, info = AutoModelForCausalLM.from_pretrained(path, output_loading_info=True)
    assert not any(info.values())
    live = {name: tensor["sha256"] for name, tensor in tuned.weights.items()}
    published = weights_of(path) | weights_of(path / "adapter")
    same = [name for name in live if tensor_sha256(published[name]) == live[name]]
    # All but the matrices of GPT-2's two blocks, which have adapters added.
    assert len(live) - len(same) == (8 if "lora" in settings else 0)
