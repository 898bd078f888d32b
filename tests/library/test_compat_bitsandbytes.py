"""What we take from bitsandbytes' layers is what it and Transformers put there."""

import platform
import sys

import pytest
import torch
from bitsandbytes.functional import dequantize_4bit, quantize_4bit
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig

from compat_contract import contract
from resident_memory import resident_mb
from retune.compat.bitsandbytes_4bit import (
    count_in_4bit,
    dequantize,
    has_transposed_layers,
    layers_in_4bit,
    quantized_and_back,
    weight_by_kernels,
    weight_of,
)
from retune.compat.glibc import return_freed_memory
from retune.errors import RetuneError
from retune.models.four_bit_weights import (
    check_4bit_kernels,
    load_in_4bit,
    num_parameters_in_4bit,
)
from retune.models.skeleton import build_skeleton

LLAMA = LlamaConfig(
    **{"vocab_size": 60, "hidden_size": 64, "intermediate_size": 128},
    **{"num_hidden_layers": 2, "num_attention_heads": 4},
)
GPT2 = GPT2Config(vocab_size=60, n_embd=64, n_layer=2, n_head=4, n_positions=32)
IDS = torch.arange(20)[None]
DTYPES = [torch.float32, torch.bfloat16]


@pytest.fixture(scope="module", params=[LLAMA, GPT2], ids=lambda c: c.model_type)
def base(request, tmp_path_factory):
    """The folder of a small model in fp32."""
    folder = tmp_path_factory.mktemp("base")
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(request.param).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_the_weights_of_a_model_in_4_bits_are_those_of_its_files_there_and_back(
    base, dtype
):
    with contract("bitsandbytes_4bit"):
        stored = AutoModelForCausalLM.from_pretrained(base, dtype=dtype).state_dict()
        model = load_in_4bit(base, dtype, "sdpa")
        layers = layers_in_4bit(model)
        assert len(layers) == (8 if has_transposed_layers(model) else 14)
        for name, layer in layers.items():
            weight = stored[f"{name}.weight"]
            held = weight_of(layer)
            assert held.dtype == dtype
            assert torch.equal(
                held, quantized_and_back(weight, has_transposed_layers(model))
            )
            assert torch.equal(held, weight_by_kernels(layer))
            error = (held - weight).abs().max() / weight.abs().max()
            assert 0.01 < error < 0.2
        # All others are as they were.
        others = dict(model.named_parameters())
        for name in others.keys() - {f"{layer}.weight" for layer in layers}:
            assert torch.equal(others[name], stored[name])


def test_as_many_weights_are_counted_as_are_held_in_4_bits(base):
    with contract("bitsandbytes_4bit"):
        layers = layers_in_4bit(load_in_4bit(base, torch.float32, "sdpa"))
        held = sum(weight_of(layer).numel() for layer in layers.values())
        assert count_in_4bit(build_skeleton(base)) == held


def test_each_weight_that_is_rounded_is_a_sign_of_life(base):
    with contract("bitsandbytes_4bit"):
        calls = []
        model = load_in_4bit(base, torch.float32, "sdpa", lambda: calls.append(1))
        assert len(calls) == len(layers_in_4bit(model))
        # Once it is loaded, nobody is told any more.
        load_in_4bit(base, torch.float32, "sdpa")
        assert len(calls) == len(layers_in_4bit(model))


def test_loading_leaves_no_memory_behind(tmp_path):
    if platform.libc_ver()[0] != "glibc":
        pytest.skip("only glibc can give memory back")
    wide = {"hidden_size": 1024, "intermediate_size": 2816}
    config = LlamaConfig.from_dict({**LLAMA.to_dict(), **wide})
    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.save_pretrained(tmp_path)
    del model
    return_freed_memory()
    in_use = []
    model = load_in_4bit(
        *(tmp_path, torch.bfloat16, "sdpa"), lambda: in_use.append(resident_mb())
    )
    held = resident_mb()
    return_freed_memory()
    assert held - resident_mb() < 5
    assert layers_in_4bit(model)
    # Nor does any weight on the way.
    assert max(in_use) < held + 5


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_evaluation_computes_what_training_does_and_changes_no_weight(base, dtype):
    with contract("bitsandbytes_4bit"):
        model = load_in_4bit(base, dtype, "eager")
        layers = layers_in_4bit(model)
        before = {name: weight_of(layer) for name, layer in layers.items()}
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        training = model.train()(input_ids=IDS).logits
        with torch.no_grad():
            evaluation = model.eval()(input_ids=IDS).logits
        assert torch.equal(training, evaluation)
        assert all(torch.equal(weight_of(layers[n]), w) for n, w in before.items())


def test_a_checkpoint_holds_no_scales(base):
    with contract("bitsandbytes_4bit"):
        model = load_in_4bit(base, torch.float32, "sdpa")
        named = {name for name, _ in model.named_parameters()}
        assert named <= model.state_dict().keys() <= named | {"lm_head.weight"}
        layer = next(iter(layers_in_4bit(model).values()))
        assert layer.state_dict().keys() == dict(layer.named_parameters()).keys()


@pytest.mark.parametrize("dtype", [*DTYPES, torch.float16], ids=str)
@pytest.mark.parametrize("shape", [(3, 7), (5, 64), (33, 100), (64, 128)])
def test_4_bits_stand_for_what_bitsandbytes_says(shape, dtype):
    with contract("bitsandbytes_4bit"):
        torch.manual_seed(0)
        weight = torch.randn(shape).to(dtype)
        weight[0] = 0.0
        codes, state = quantize_4bit(
            weight, blocksize=64, compress_statistics=False, quant_type="nf4"
        )
        back = dequantize(codes, state)
        assert torch.equal(back, dequantize_4bit(codes, state))
        assert back.dtype == dtype


def test_without_bitsandbytes_it_is_told_before_anything_is_loaded(base, monkeypatch):
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    message = "load_in_4bit: true needs bitsandbytes, which is not installed: pip in"
    with pytest.raises(RetuneError, match=message):
        num_parameters_in_4bit(build_skeleton(base))
    with pytest.raises(RetuneError, match=message):
        load_in_4bit(base, torch.float32, "sdpa")


def test_layers_that_bitsandbytes_computes_wrongly_are_refused(tmp_path):
    if torch.backends.cpu.get_cpu_capability() != "AVX512":
        pytest.skip("bitsandbytes 0.50 is wrong on CPUs with AVX-512")
    narrow = LlamaConfig.from_dict({**LLAMA.to_dict(), "intermediate_size": 96})
    AutoModelForCausalLM.from_config(narrow).save_pretrained(tmp_path)
    model = load_in_4bit(tmp_path, torch.float32, "sdpa")
    message = "layers of 96 inputs and 64 outputs wrongly on this cpu"
    with pytest.raises(RetuneError, match=message):
        check_4bit_kernels(model)


def test_an_output_that_is_not_that_of_the_weight_is_refused(base):
    model = load_in_4bit(base, torch.float32, "sdpa")
    check_4bit_kernels(model)
    for layer in layers_in_4bit(model).values():
        outputs = layer.quant_state.shape[0]
        layer.forward = lambda rows, outputs=outputs: torch.zeros(len(rows), outputs)
    with pytest.raises(RetuneError, match="wrongly on this cpu"):
        check_4bit_kernels(model)
