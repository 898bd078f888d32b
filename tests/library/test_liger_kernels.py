"""Liger's kernels are asked for in words where they cannot be had."""

import sys

import pytest
import torch
from transformers import AutoModelForCausalLM, GPT2Config

from plans import make_plan
from retune.errors import RetuneError
from retune.launching.liger import check_liger_kernel
from retune.models.liger_kernels import use_liger_kernels


@pytest.fixture
def model():
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(GPT2Config(n_layer=1))


def test_a_missing_package_is_told(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "liger_kernel", None)
    told = "^configure.use_liger_kernel needs liger-kernel, .* pip install liger"
    with pytest.raises(RetuneError, match=told):
        use_liger_kernels(model, make_plan(use_liger_kernel=True))


def test_without_the_setting_the_package_is_not_needed(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "liger_kernel", None)
    use_liger_kernels(model, make_plan())


def test_a_missing_package_is_told_before_ranks_start(monkeypatch):
    monkeypatch.setattr("retune.launching.liger.find_spec", lambda name: None)
    check_liger_kernel(make_plan())
    with pytest.raises(RetuneError, match="the plan needs liger-kernel, which is not"):
        check_liger_kernel(make_plan(use_liger_kernel=True))
