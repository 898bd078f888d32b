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


def test_a_missing_package_is_told(model, install_liger):
    install_liger(None)
    told = "^configure.use_liger_kernel: liger-kernel is not installed: pip install"
    with pytest.raises(RetuneError, match=told):
        use_liger_kernels(model, make_plan(use_liger_kernel=True))


def test_what_cannot_be_imported_is_told(model, install_liger, monkeypatch):
    install_liger("0.8.5")
    monkeypatch.setitem(sys.modules, "liger_kernel", None)
    told = "^configure.use_liger_kernel needs liger-kernel, which cannot be imported"
    with pytest.raises(RetuneError, match=told):
        use_liger_kernels(model, make_plan(use_liger_kernel=True))


def test_without_the_setting_the_package_is_not_needed(model, install_liger):
    install_liger(None)
    use_liger_kernels(model, make_plan())
    check_liger_kernel(make_plan())


@pytest.mark.parametrize(
    ("installed", "told"),
    [
        (None, r" liger-kernel is not installed: pip install 'retune\[kernels\]'"),
        ("0.6.2", r" liger-kernel 0.6.2 is installed, and >=0.8.5,<0.9 is wanted: pip"),
    ],
)
def test_what_is_missing_is_told_before_ranks_start(installed, told, install_liger):
    install_liger(installed)
    with pytest.raises(RetuneError, match=told):
        check_liger_kernel(make_plan(use_liger_kernel=True))


def test_what_is_wanted_is_not_told(install_liger):
    install_liger("0.8.5")
    check_liger_kernel(make_plan(use_liger_kernel=True))
