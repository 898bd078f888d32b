"""One element that is no number is found wherever it is, in every dtype."""

import pytest
import torch

from retune.models.finite_values import is_finite

DTYPES = [torch.bfloat16, torch.float16, torch.float32, torch.float64]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("size", [1, 33, 100_003])
def test_one_element_that_is_no_number_is_found(dtype, value, size):
    for place in {0, size // 2, size - 1}:
        tensor = torch.randn(size).to(dtype)
        assert is_finite(tensor)
        tensor[place] = value
        assert not is_finite(tensor)
        assert not is_finite(tensor[None].expand(2, size).T)


@pytest.mark.parametrize("tensor", [torch.zeros(0), torch.ones(3, dtype=torch.int8)])
def test_what_has_no_such_elements_is_finite(tensor):
    assert is_finite(tensor)
