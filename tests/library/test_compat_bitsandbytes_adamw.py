"""What we use of bitsandbytes' optimizers is as we take it to be."""

import pytest
import torch

from compat_contract import contract
from retune.compat.bitsandbytes_adamw import GroupedAdamW8bit
from retune.compat.deepspeed_checkpoints import drop_moments

DTYPES = {8: torch.uint8, 32: torch.float32}


@pytest.fixture
def stepped():
    """An optimizer with a large and a small parameter of 8 and of 32 bits each."""
    groups = [
        {
            "params": [torch.nn.Parameter(torch.ones(size)) for size in (5000, 10)],
            "optim_bits": bits,
        }
        for bits in DTYPES
    ]
    optimizer = GroupedAdamW8bit(groups)
    for group in groups:
        for parameter in group["params"]:
            parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    return optimizer


@contract("bitsandbytes_adamw")
def test_a_group_says_how_many_bits_the_states_have(stepped):
    for group in stepped.param_groups:
        for parameter in group["params"]:
            state = stepped.state[parameter]
            dtype = DTYPES[group["optim_bits"]]
            assert state["state1"].dtype == state["state2"].dtype == dtype


@contract("deepspeed_checkpoints")
def test_all_moments_are_found_and_come_back(stepped):
    saved = stepped.state_dict()
    stepped.load_state_dict(saved)
    test_a_group_says_how_many_bits_the_states_have(stepped)
    assert drop_moments(saved)
    assert all(list(state) == ["step"] for state in saved["state"].values())
