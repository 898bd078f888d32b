"""The names that `retune.compat` imports are there, and each file says what for."""

from importlib import import_module

import pytest

from compat_contract import MODULES, contract, what_breaks


@pytest.mark.parametrize("module", MODULES)
def test_the_names_of_the_dependency_are_there(module):
    with contract(module):
        import_module(f"retune.compat.{module}")


@pytest.mark.parametrize("module", MODULES)
def test_a_file_says_what_it_uses_and_what_breaks_without(module):
    assert what_breaks(module)
