"""Packages that settings ask for, and that are missing, are all told at once."""

import sys

import pytest

from retune.checking.packages import check_packages
from retune.checking.sections import Sections
from retune.settings.params import check_params


def sections_of(**sections):
    values = {"dataset": "builtin", "model": "builtin", **sections}
    return Sections(check_params(values).sections)


@pytest.fixture
def nothing_installed(monkeypatch, install_liger):
    """None of the packages that are not those of every run."""
    install_liger(None)
    for name in ("peft", "bitsandbytes", "flash_attn"):
        # find_spec takes it for a module that is not there.
        monkeypatch.setitem(sys.modules, name, None)


def test_a_plain_run_needs_nothing(nothing_installed):
    assert check_packages(sections_of()).state == "ok"


def test_all_that_is_missing_is_told(nothing_installed):
    outcome = check_packages(
        sections_of(
            hardware={"accelerator": "cuda"},
            configure={
                "optim": "adamw_8bit",
                "use_liger_kernel": True,
                "attn_implementation": "flash_attention_2",
            },
            finetune={"lora": {"load_in_4bit": True}},
        )
    )
    assert outcome.found == "peft, bitsandbytes, liger-kernel, flash-attn"
    keys = [error.split(":")[0].split(" ")[0] for error in outcome.errors]
    assert keys == [
        "finetune.lora",
        "finetune.lora.load_in_4bit",
        "configure.optim",
        "configure.use_liger_kernel",
        "configure.attn_implementation",
    ]


def test_a_version_that_is_not_wanted_is_told(install_liger):
    install_liger("0.1.0")
    sections = sections_of(
        hardware={"accelerator": "cuda"}, configure={"use_liger_kernel": True}
    )
    (error,) = check_packages(sections).errors
    assert "liger-kernel 0.1.0 is installed" in error


def test_auto_needs_no_package(nothing_installed):
    sections = sections_of(configure={"use_liger_kernel": "auto"})
    assert check_packages(sections).state == "ok"


def test_a_wrong_key_beside_hides_none(nothing_installed):
    sections = sections_of(finetune={"lora": {}, "epoch": 3})
    (error,) = check_packages(sections).errors
    assert error.startswith("finetune.lora needs peft")
    sections = sections_of(finetune={"lora": {"rank": 3}})
    assert check_packages(sections).errors == ()
