"""One kernel computes what Transformers' activation functions do in many."""

import pytest
import torch
from torch import nn
from transformers.activations import ACT2FN

from retune.models.fused_activations import fuse_activations


@pytest.mark.parametrize("name", ["gelu_new", "gelu_fast"])
def test_values_and_gradients_are_the_same(name):
    models = [nn.Sequential(nn.Identity(), ACT2FN[name]) for _ in range(2)]
    fuse_activations(models[1])
    assert type(models[1][1]) is nn.GELU
    results = []
    for model in models:
        x = torch.linspace(-20, 20, 1001, requires_grad=True)
        y = model(x)
        y.sin().sum().backward()
        results.append((y, x.grad))
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=3e-6)


def test_others_stay():
    model = nn.Sequential(ACT2FN["silu"], ACT2FN["relu"])
    children = list(model)
    fuse_activations(model)
    assert list(model) == children
