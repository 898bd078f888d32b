"""Memory that was freed goes back to the operating system when we ask for it."""

import platform

import pytest
import torch

from compat_contract import contract
from resident_memory import resident_mb
from retune.compat.glibc import return_freed_memory


def test_memory_between_what_is_still_there_goes_back():
    if platform.libc_ver()[0] != "glibc":
        pytest.skip("the C library is not glibc")
    with contract("glibc"):
        # 100 MB in pieces that glibc does not map one by one, and the last one stays.
        pieces = [torch.ones(25_000) for _ in range(1000)]
        del pieces[:-1]
        before = resident_mb()
        return_freed_memory()
        assert before - resident_mb() > 80
