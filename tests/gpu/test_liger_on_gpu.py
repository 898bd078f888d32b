"""Liger's kernels compute what the model's own code does, on a CUDA device."""

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
PLAN = make_plan(accelerator="cuda", use_liger_kernel=True)


@pytest.fixture(autouse=True)
def installed():
    pytest.importorskip("liger_kernel")


def train(model):
    """Return the loss of two packed documents, and the gradients."""
    ids = torch.arange(5, 69, device="cuda")[None]
    positions = torch.cat([torch.arange(40), torch.arange(24)])[None].cuda()
    logits = model(input_ids=ids, position_ids=positions, use_cache=False).logits
    loss = torch.nn.functional.cross_entropy(logits[0, :-1], ids[0, 1:])
    loss.backward()
    return loss.item(), {name: p.grad for name, p in model.named_parameters()}


@pytest.mark.parametrize(
    "family", ["llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3", "phi3"]
)
def test_loss_and_gradients_are_those_of_plain_layers(tmp_path, family):
    folder = build_family(family, tmp_path)
    models = [
        AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager")
        for _ in range(2)
    ]
    # The first one first: the kernels of a family are replaced for the whole process.
    plain, gradients = train(models[0].cuda().train())
    use_liger_kernels(models[1], PLAN)
    loss, others = train(models[1].cuda().train())
    assert loss == pytest.approx(plain, abs=1e-5)
    assert others.keys() == gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(
            others[name], gradient, atol=1e-4, rtol=1e-3, msg=name
        )


def test_a_family_without_kernels_is_named(tmp_path):
    with contract("liger_kernel"):
        assert "llama" in liger_families()
    model = AutoModelForCausalLM.from_pretrained(build_family("gpt2", tmp_path))
    with pytest.raises(RetuneError, match="Liger has no kernels for gpt2 models"):
        use_liger_kernels(model, PLAN)
