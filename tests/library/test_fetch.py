"""The step `fetch`: a whole, safe model or one clear sentence."""

import json
import math
import os
import struct
import subprocess
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import GPT2LMHeadModel

from loopback_hub import TOKEN
from retune.artifacts.publishing import sha256
from retune.errors import RetuneError
from retune.settings import ModelSettings
from retune.sources.local_model import problem_of_folder
from retune.steps import fetch
from tiny_models import build_tiny_model

CONFIG = {
    "model_type": "gpt2",
    "architectures": ["GPT2LMHeadModel"],
    "vocab_size": 10,
    "n_positions": 8,
    "n_embd": 4,
    "n_layer": 1,
    "n_head": 1,
}
# Embeddings 10 x 4 and 8 x 4 (the head is tied), a block of 244, a last norm of 8.
PARAMETERS = 10 * 4 + 8 * 4 + 244 + 8


TOKENIZER = {
    "version": "1.0",
    "added_tokens": [
        {
            "id": 0,
            "content": "<|endoftext|>",
            "special": True,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
        }
    ],
    "model": {"type": "BPE", "vocab": {"<|endoftext|>": 0, "a": 1}, "merges": []},
}


# The names are those of the hub's gpt2, which lack the prefix of the model.
SHAPES = {
    "wte.weight": [10, 4],
    "wpe.weight": [8, 4],
    "h.0.ln_1.weight": [4],
    "h.0.ln_1.bias": [4],
    "h.0.attn.c_attn.weight": [4, 12],
    "h.0.attn.c_attn.bias": [12],
    "h.0.attn.c_proj.weight": [4, 4],
    "h.0.attn.c_proj.bias": [4],
    "h.0.ln_2.weight": [4],
    "h.0.ln_2.bias": [4],
    "h.0.mlp.c_fc.weight": [4, 16],
    "h.0.mlp.c_fc.bias": [16],
    "h.0.mlp.c_proj.weight": [16, 4],
    "h.0.mlp.c_proj.bias": [4],
    "ln_f.weight": [4],
    "ln_f.bias": [4],
}
FIRST, SECOND = list(SHAPES)[:5], list(SHAPES)[5:]


def safetensors(names=tuple(SHAPES), dtype="F32", value=0.0, **shapes):
    """Return a file in which all elements are the same."""
    sizes = {name: SHAPES[name] for name in names if name in SHAPES} | shapes
    element = struct.pack("<f", value) if dtype == "F32" else b"\0"
    header, data = {}, b""
    for name, shape in sizes.items():
        end = data + element * math.prod(shape)
        offsets = [len(data), len(end)]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": offsets}
        data = end
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def as_json(value):
    return json.dumps(value).encode()


def index_of(shards):
    return as_json({"metadata": {"total_size": 32}, "weight_map": shards})


WHOLE = {
    "config.json": as_json(CONFIG),
    "generation_config.json": b"{}",
    "tokenizer.json": as_json(TOKENIZER),
    "tokenizer_config.json": b"{}",
    "model.safetensors": safetensors(),
}
FOREIGN = {
    "README.md": b"# A model",
    "pytorch_model.bin": b"a pickle",
    "modeling.py": b"raise SystemExit",
    "onnx/model.safetensors": safetensors(["wte.weight"]),
    "onnx/config.json": b"{}",
}
SHARDED = {
    **{name: content for name, content in WHOLE.items() if "safetensors" not in name},
    "model-00001-of-00002.safetensors": safetensors(FIRST),
    "model-00002-of-00002.safetensors": safetensors(SECOND),
    "model.safetensors.index.json": index_of(
        dict.fromkeys(FIRST, "model-00001-of-00002.safetensors")
        | dict.fromkeys(SECOND, "model-00002-of-00002.safetensors")
    ),
}


def without(files, *names):
    return {name: content for name, content in files.items() if name not in names}


@pytest.fixture
def run_hub(hub, worker, tmp_path):
    """Return a function that publishes a model and fetches it."""

    def run(files, name="team/tiny"):
        revision = hub.add("models", name, files)
        hub.requests.clear()
        settings = {"source": "hub", "name": name, "revision": revision}
        return worker.run("fetch", tmp_path / "base", **settings)

    yield run
    hub.faults.clear()


@pytest.fixture
def run_local(tmp_path):
    """Return a function that writes a model to a folder and fetches it from there."""

    def run(files):
        for name, content in files.items():
            path = tmp_path / "mine" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        settings = ModelSettings(source="local", folder=str(tmp_path / "mine"))
        return fetch.run(settings, tmp_path / "base")

    return run


@pytest.mark.parametrize("files", [WHOLE, SHARDED])
def test_a_hub_model_arrives_whole_and_without_anything_else(
    hub, run_hub, tmp_path, files
):
    outcome = run_hub({**files, **FOREIGN})

    revision = hub.repositories["models", "team/tiny"].commit
    assert outcome.result.startswith(
        f"team/tiny at {revision[:8]}: {PARAMETERS:,} parameters, "
    ), outcome
    arrived = {path.name: path.read_bytes() for path in (tmp_path / "base").iterdir()}
    manifest = json.loads(arrived.pop("manifest.json"))
    facts = json.loads(arrived.pop("model_facts.json"))
    assert facts["context_length"] == 8
    assert arrived == files
    del manifest["sha256"]  # of the manifest itself
    listed = {file["path"] for file in manifest.pop("files")}
    assert listed == {*files, "model_facts.json"}
    origin = {"source": "hub", "name": "team/tiny", "revision": revision}
    assert manifest == {"format": 1, **origin}


def test_a_hub_model_arrives_at_a_relative_target_too(hub, worker):
    revision = hub.add("models", "team/tiny", WHOLE)
    settings = {"source": "hub", "name": "team/tiny", "revision": revision}
    assert worker.run("fetch", Path("models/base"), **settings).result
    assert (worker.folder / "models/base/model.safetensors").exists()


@pytest.mark.parametrize("files", [WHOLE, SHARDED])
def test_a_local_model_is_copied_whole_and_without_anything_else(
    run_local, tmp_path, files
):
    run_local({**files, **FOREIGN})
    arrived = {path.name: path.read_bytes() for path in (tmp_path / "base").iterdir()}
    del arrived["manifest.json"], arrived["model_facts.json"]
    assert arrived == files
    sources = json.loads((tmp_path / "base/manifest.json").read_text())["sources"]
    assert {source["path"]: source["sha256"] for source in sources} == {
        name: sha256(tmp_path / "mine" / name) for name in files
    }
    original = tmp_path / "mine/config.json"
    assert not original.samefile(tmp_path / "base/config.json")


def test_weights_that_arrive_flipped_are_fetched_again(hub, run_hub, tmp_path):
    hub.fail("flip", "model.safetensors")
    assert run_hub(WHOLE).result
    assert hub.faults[0].times == 0
    arrived = (tmp_path / "base/model.safetensors").read_bytes()
    assert arrived == WHOLE["model.safetensors"]


def test_weights_that_always_arrive_flipped_are_an_error(hub, run_hub, tmp_path):
    hub.fail("flip", "model.safetensors", float("inf"))
    outcome = run_hub(WHOLE)
    assert outcome.error.startswith("model.name: model.safetensors of team/tiny at ")
    assert "arrived damaged 3 times" in outcome.error
    assert list(tmp_path.iterdir()) == []


def test_a_private_model_asks_for_a_token_that_is_never_shown(hub, worker, tmp_path):
    revision = hub.add("models", "team/secret", WHOLE, token="hf_somebodyelse")
    settings = {"source": "hub", "name": "team/secret", "revision": revision}
    outcome = worker.run("fetch", tmp_path / "base", **settings)
    assert outcome.error.startswith("model.name: team/secret is not at")
    assert "HF_TOKEN" in outcome.error
    assert TOKEN not in outcome.error + worker.log.read_text()


def test_a_hub_model_of_pickles_is_refused_before_any_download(hub, run_hub):
    outcome = run_hub({**without(WHOLE, "model.safetensors"), **FOREIGN})
    assert "lacks safetensors weights: model.safetensors or" in outcome.error
    assert "(pickles such as pytorch_model.bin are never loaded)" in outcome.error
    assert len(hub.requests) == 1


def test_a_hub_model_with_its_own_code_is_refused_before_its_weights(hub, run_hub):
    own = {"model_type": "evil", "auto_map": {"AutoConfig": "modeling.Evil"}}
    outcome = run_hub({**WHOLE, **FOREIGN, "config.json": as_json({**CONFIG, **own})})
    assert "needs its own Python code (auto_map in config.json)" in outcome.error
    assert not any("model.safetensors" in request for request in hub.requests)


def test_code_beside_a_model_that_transformers_knows_is_neither_run_nor_kept(
    hub, run_hub, tmp_path
):
    own = {"auto_map": {"AutoModelForCausalLM": "modeling.Evil"}}
    outcome = run_hub({**WHOLE, **FOREIGN, "config.json": as_json({**CONFIG, **own})})
    assert outcome.result
    assert not (tmp_path / "base/modeling.py").exists()


def test_a_hub_model_that_lacks_weights_is_refused_before_these_are_brought(
    hub, run_hub
):
    index = index_of(dict.fromkeys(FIRST, "model-00001-of-00002.safetensors"))
    outcome = run_hub({**SHARDED, "model.safetensors.index.json": index})
    assert "lacks 11 weights (transformer.h.0.attn.c_attn.bias," in outcome.error
    assert not any("00001-of" in request for request in hub.requests)


def test_a_quantised_hub_model_is_refused_before_its_weights_are_brought(hub, run_hub):
    config = {**CONFIG, "quantization_config": {"quant_method": "gptq", "bits": 4}}
    outcome = run_hub({**WHOLE, "config.json": as_json(config)})
    assert "is quantised (quantization_config in config.json: gptq)" in outcome.error
    assert not any("model.safetensors" in request for request in hub.requests)


REFUSED = [
    (without(WHOLE, "config.json"), "lacks config.json"),
    (without(WHOLE, "tokenizer.json"), "lacks a tokenizer: tokenizer.json or"),
    (
        {"config.json": b"{}", "pytorch_model.bin": b""},
        r"lacks safetensors weights.*\(pickles such as pytorch_model.bin are never"
        r" loaded\); a tokenizer",
    ),
    (
        without(SHARDED, "model-00002-of-00002.safetensors"),
        "lacks model-00002-of-00002.safetensors, which model.safetensors.index.json",
    ),
    (
        {
            **SHARDED,
            "model.safetensors.index.json": index_of({"x": "../model.safetensors"}),
        },
        "lacks ../model.safetensors, which",
    ),
    (
        {
            **SHARDED,
            "model-00002-of-00002.safetensors": safetensors(SECOND[1:]),
        },
        f"lacks 1 of the tensors in model.safetensors.index.json, such as {SECOND[0]}",
    ),
    (
        {
            **SHARDED,
            "model-00002-of-00002.safetensors": safetensors([*SECOND, FIRST[0]]),
        },
        f"holds {FIRST[0]} in model-00001-of-00002.safetensors and in"
        " model-00002-of-00002.safetensors, and which of them is meant is not known",
    ),
    (
        {**SHARDED, "model.safetensors": safetensors(value=0.01)},
        "holds model.safetensors and, in model.safetensors.index.json,"
        " model-00001-of-00002.safetensors, model-00002-of-00002.safetensors: which",
    ),
    (
        {**SHARDED, "model.safetensors.index.json": b"{}"},
        "has no weight_map in model.safetensors.index.json",
    ),
    (
        {**WHOLE, "model.safetensors": WHOLE["model.safetensors"][:-8]},
        "has a damaged model.safetensors",
    ),
    ({**WHOLE, "config.json": b"{"}, "has a damaged config.json"),
    ({**WHOLE, "config.json": b"[]"}, "has a config.json that is no JSON object"),
    (
        {**WHOLE, "config.json": as_json({"model_type": "gpt9"})},
        r"no causal language model that transformers knows \(model_type 'gpt9'",
    ),
    (
        {**WHOLE, "config.json": as_json({"model_type": "t5"})},
        r"no causal language model that transformers knows \(model_type 't5'",
    ),
    (
        {**WHOLE, "config.json": as_json({**CONFIG, "n_head": 3})},
        r"has a config.json that transformers makes no gpt2 model of \(ValueError\)",
    ),
]


@pytest.mark.parametrize(("files", "message"), REFUSED)
def test_a_model_that_is_not_whole_or_not_safe_is_refused(
    run_local, tmp_path, files, message
):
    with pytest.raises(RetuneError, match=message) as caught:
        run_local(files)
    assert str(caught.value).startswith(f"model.folder: {tmp_path / 'mine'} ")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_folder_that_is_not_there_is_named(tmp_path):
    settings = ModelSettings(source="local", folder="no/such")
    with pytest.raises(RetuneError, match="model.folder: no/such is no folder"):
        fetch.run(settings, tmp_path / "base")


def test_the_builtin_model_is_made_and_counted(tmp_path):
    settings = ModelSettings(
        source="builtin", vocab_size=300, n_positions=16, n_embd=8, n_layer=1, n_head=2
    )
    result = fetch.run(settings, tmp_path / "base")
    assert result == "built-in GPT-2: 3,416 parameters, 15.1 kB"
    manifest = json.loads((tmp_path / "base/manifest.json").read_text())
    assert manifest["built_from"]["vocab_size"] == 300
    assert "name" not in manifest
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {
        file["path"] for file in manifest["files"]
    }


def test_the_builtin_model_gets_the_tokens_of_a_chat_template(tmp_path):
    sizes = {"vocab_size": 300, "n_positions": 16, "n_embd": 8, "n_layer": 1}
    settings = ModelSettings(
        source="builtin", **sizes, n_head=2, chat_template="chatml"
    )
    result = fetch.run(settings, tmp_path / "base")
    # Two rows of 8 numbers more.
    assert result.startswith("built-in GPT-2: 3,432 parameters, ")
    assert result.endswith("; 2 tokens added for chatml")


@pytest.mark.parametrize("num_files", [1, 3])
@pytest.mark.parametrize("name", ["pickled", "a 'pickled' $model"])
def test_what_a_folder_of_pickles_is_told_converts_it(tmp_path, num_files, name):
    folder = build_tiny_model(tmp_path / name)
    whole = load_file(folder / "model.safetensors")
    model = GPT2LMHeadModel.from_pretrained(folder)
    weights = list(model.state_dict().items())  # with the tied head
    (folder / "model.safetensors").unlink()
    for number in range(num_files):
        part = dict(weights[number::num_files])
        torch.save(part, folder / f"pytorch_model-{number}.bin")
    command = str(problem_of_folder(folder)).splitlines()[1]
    subprocess.run(command, shell=True, check=True, env=os.environ)
    assert problem_of_folder(folder) is None

    settings = ModelSettings.model_validate(str(folder))
    fetch.run(settings, tmp_path / "base")
    fetched = load_file(tmp_path / "base/model.safetensors")
    assert fetched.keys() == {*whole, "lm_head.weight"}
    for key, tensor in whole.items():
        assert torch.equal(fetched[key], tensor)
