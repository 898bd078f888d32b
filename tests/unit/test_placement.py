"""Where the copies of a model that is evaluated are, and in which data type."""

import pytest

from retune.errors import RetuneError
from retune.evaluation.placement import resolve_dtype, share_gpus
from retune.units import GB
from tiny_facts import tiny_facts

BF16, FP32 = 2, 4  # bytes of a weight


@pytest.mark.parametrize(
    ("wanted", "stored", "device", "has_bf16", "dtype"),
    [
        ("auto", "bfloat16", "cuda", True, "bfloat16"),
        ("auto", "float16", "cuda", True, "float16"),
        ("auto", "float32", "cuda", True, "float32"),
        ("auto", "bfloat16", "cuda", False, "float32"),
        ("auto", "float16", "cuda", False, "float16"),
        ("auto", "bfloat16", "cpu", True, "float32"),
        ("bfloat16", "float32", "cpu", True, "bfloat16"),
        ("float32", "bfloat16", "cuda", True, "float32"),
    ],
)
def test_the_data_type_is_that_of_the_files_where_it_is_fast(
    wanted, stored, device, has_bf16, dtype
):
    assert resolve_dtype(wanted, stored, device, has_bf16) == dtype


def share(billions, width, gigabytes, gpus, at_most=None, num_layers=80):
    """Return how GPUs are shared by copies of a model like Llama."""
    facts = tiny_facts(
        num_parameters=int(billions * 1e9), num_layers=num_layers, vocab_size=128_256
    )
    return share_gpus(facts, width, [gigabytes * GB] * gpus, at_most or gpus)


@pytest.mark.parametrize(
    ("billions", "width", "gpus", "gigabytes", "copies"),
    [
        # 0.5B and 8B in bf16: a copy on each GPU.
        (0.5, BF16, 1, 24, [(0,)]),
        (8.03, BF16, 4, 80, [(0,), (1,), (2,), (3,)]),
        # 70B in bf16: three GPUs of 80 GB would do, so two copies have four each.
        (70.55, BF16, 8, 80, [(0, 1, 2, 3), (4, 5, 6, 7)]),
        (70.55, BF16, 7, 80, [(0, 1, 2), (3, 4, 5, 6)]),
        (70.55, BF16, 8, 141, [(0, 1), (2, 3), (4, 5), (6, 7)]),
        # In fp32 it takes five, so there is one copy, which has all.
        (70.55, FP32, 8, 80, [(0, 1, 2, 3, 4, 5, 6, 7)]),
        # Where there are no more GPUs, less is left for anything else.
        (36.0, BF16, 1, 80, [(0,)]),
        (70.55, BF16, 2, 80, [(0, 1)]),
    ],
)
def test_as_many_copies_as_the_gpus_hold(billions, width, gpus, gigabytes, copies):
    assert share(billions, width, gigabytes, gpus) == copies


def test_the_smallest_gpu_decides():
    facts = tiny_facts(num_parameters=15 * 10**9, num_layers=40, vocab_size=128_256)
    assert share_gpus(facts, BF16, [80 * GB, 24 * GB], 2) == [(0, 1)]
    assert share_gpus(facts, BF16, [80 * GB, 24 * GB], 1) == [(0,)]


def test_layers_and_the_head_are_not_cut():
    # 30 GB would fill 94 % of two GPUs; half of it beside a layer and the head is more
    # than one of them holds.
    with pytest.raises(RetuneError, match="30 GB, do not fit the 2 GPUs of 16 GB"):
        share(15, BF16, 16, 2, num_layers=32)
    # Of few large layers there is a copy on more GPUs: 79 % of three are not enough.
    assert share(9.5, BF16, 8, 6, num_layers=16) == [(0, 1, 2, 3, 4, 5)]
    assert share(9.5, BF16, 8, 6, num_layers=160) == [(0, 1, 2), (3, 4, 5)]


def test_a_model_that_no_gpu_holds_is_refused_with_both_sizes():
    message = (
        r"weights, 282 GB, do not fit the 2 GPUs of 80 GB here: .*dtype: bfloat16"
        r".* hardware.accelerator: cpu would rerun configure and finetune$"
    )
    with pytest.raises(RetuneError, match=message):
        share(70.5, FP32, 80, 2)


def test_gpus_that_the_settings_leave_unused_are_named():
    with pytest.raises(RetuneError, match=r"2 GPUs .*ranks_per_node: 2 leaves 6 of"):
        share(70.5, FP32, 80, 8, at_most=2)
