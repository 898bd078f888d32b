"""Which versions of liger-kernel are taken."""

import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from retune.planning.liger_version import WANTED, is_wanted

ROOT = Path(__file__).parents[2]


def test_they_are_those_of_the_extra():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    [line] = project["optional-dependencies"]["kernels"]
    assert Requirement(line).specifier == SpecifierSet(WANTED)


@pytest.mark.parametrize(
    "found",
    [
        *("0.6.2", "0.8.4", "0.8.5", "0.8.5.post1", "0.8.5+local", "0.8.10", "0.8.5.1"),
        *("0.9", "0.9.0", "0.10.0", "1.0", "0.8", "0.8.5rc1", "0.8.5.dev3", "0.9.0a1"),
    ],
)
def test_versions_compare_as_packaging_compares_them(found):
    assert is_wanted(found) is SpecifierSet(WANTED).contains(found, prereleases=False)


def test_a_name_of_a_checkout_is_none():
    assert not is_wanted("unknown")
