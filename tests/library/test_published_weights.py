"""What is published is named, split and rounded as the base model's files are."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from model_families import build_family
from retune.artifacts.publishing import read_json
from retune.errors import RetuneError
from retune.models.base_weights import BaseWeights
from retune.models.published_weights import published_tensors
from retune.models.tensor_spec import ExpectedTensor
from retune.settings import ModelSettings
from retune.steps import consolidate, fetch


def bring(source, **config):
    """Return the base folder of a model; `config` is what its config.json says more."""
    if config:
        path = source / "config.json"
        path.write_text(json.dumps(read_json(path) | config))
    base = source.with_name("base")
    fetch.run(ModelSettings(source="local", folder=str(source)), base)
    return base


def publish(base, dtype="auto", live="float32", change=None):
    """Return the tensors that are published of a training that ended with `change`."""
    stored = BaseWeights(base)
    weights = {}
    for name, group in stored.groups.items():
        weight = stored.read_group(group)[name].to(getattr(torch, live))
        weights[name] = change(name, weight) if change else weight
    readers = {name: lambda weight=weight: weight for name, weight in weights.items()}
    facts = {
        name: ExpectedTensor(live, tuple(weight.shape))
        for name, weight in weights.items()
    }
    tensors, known = published_tensors(stored, readers, readers, facts, dtype)
    return {name: read() for name, read in tensors.items()}, known


def half_in_float32(source):
    """Store every second tensor in fp32, as DeepSeek's routers' biases are."""
    path = source / "model.safetensors"
    mixed = {
        name: tensor.float() if number % 2 else tensor
        for number, (name, tensor) in enumerate(load_file(path).items())
    }
    save_file(mixed, path, {"format": "pt"})


@pytest.mark.parametrize("family", ["llama", "mixtral", "gpt_neox"])
def test_each_tensor_has_the_dtype_that_the_base_gives_it(tmp_path, family):
    source = build_family(family, tmp_path / "source", torch.bfloat16)
    half_in_float32(source)
    base = bring(source)
    there = load_file(base / "model.safetensors")
    tensors, known = publish(base)
    assert tensors.keys() == known.keys() == there.keys()
    for name, tensor in there.items():
        assert tensors[name].dtype == tensor.dtype
        assert torch.equal(tensors[name], tensor), name


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_wanted_dtype_is_that_of_all_tensors(tmp_path, dtype):
    base = bring(build_family("mixtral", tmp_path / "source", torch.bfloat16))
    tensors, known = publish(base, dtype=dtype)
    assert {str(tensor.dtype) for tensor in tensors.values()} == {f"torch.{dtype}"}
    assert {tensor.dtype for tensor in known.values()} == {dtype}


def test_a_trained_expert_is_published_under_its_own_name(tmp_path):
    base = bring(build_family("mixtral", tmp_path / "source"))
    name = "model.layers.1.mlp.experts.gate_up_proj"

    def change(weight_name, weight):
        if weight_name == name:
            weight = weight.clone()
            weight[2, :48] = 1.0  # Of expert 2 what its files call w1.
        return weight

    tensors, _ = publish(base, change=change)
    there = load_file(base / "model.safetensors")
    changed = [key for key in there if not torch.equal(tensors[key], there[key])]
    assert changed == ["model.layers.1.block_sparse_moe.experts.2.w1.weight"]
    assert (tensors[changed[0]] == 1.0).all()


def test_a_weight_that_the_dtype_does_not_reach_is_an_error(tmp_path):
    base = bring(build_family("gpt2", tmp_path / "source", torch.float16))
    with pytest.raises(RetuneError, match=r"consolidate.dtype: transformer.* 70,000"):
        publish(base, change=lambda _, weight: torch.full_like(weight, 7e4))


def test_both_of_two_tied_tensors_are_the_tuned_one(tmp_path):
    source = build_family("llama, tied", tmp_path / "source")
    path = source / "model.safetensors"
    tensors = load_file(path)
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
    save_file(tensors, path, {"format": "pt"})
    published, _ = publish(bring(source), change=lambda _, weight: weight + 1)
    assert torch.equal(
        published["lm_head.weight"], published["model.embed_tokens.weight"]
    )
    assert torch.equal(published["lm_head.weight"], tensors["lm_head.weight"] + 1)


def test_stored_masks_are_published_as_they_were(tmp_path):
    source = build_family("gpt2", tmp_path / "source")
    mask = torch.ones(1, 1, 64, 64, dtype=torch.uint8).tril()
    path = source / "model.safetensors"
    save_file(load_file(path) | {"transformer.h.0.attn.bias": mask}, path)
    tensors, _ = publish(bring(source), dtype="bfloat16")
    assert torch.equal(tensors["transformer.h.0.attn.bias"], mask)


def test_configs_name_no_code_that_was_not_fetched_and_the_dtype_that_is(tmp_path):
    code = {"auto_map": {"AutoConfig": "configuration_phi3.Phi3Config"}}
    base = bring(build_family("phi3", tmp_path / "source"), **code)
    there = read_json(base / "config.json")
    assert "auto_map" in there
    folder = tmp_path / "published"
    folder.mkdir()
    consolidate.copy_all_but_weights(base, folder)
    consolidate.write_configs(base, folder, "bfloat16")
    del there["auto_map"]
    assert read_json(folder / "config.json") == {**there, "dtype": "bfloat16"}
    same = "generation_config.json"
    assert (folder / same).read_bytes() == (base / same).read_bytes()
