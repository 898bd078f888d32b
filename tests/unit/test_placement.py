"""Where the copies of a model that is evaluated are, and in which data type."""

import pytest

from retune.errors import RetuneError
from retune.evaluation.placement import resolve_dtype, share_gpus
from retune.units import GB

B = 10**9  # parameters


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


@pytest.mark.parametrize(
    ("model_bytes", "gpus", "gigabytes", "copies"),
    [
        # 0.5B and 8B in bf16: a copy on each GPU.
        (1.0 * B, 1, 24, [(0,)]),
        (16.1 * B, 4, 80, [(0,), (1,), (2,), (3,)]),
        # 70B in bf16: three GPUs of 80 GB would do, so two copies have four each.
        (141.1 * B, 8, 80, [(0, 1, 2, 3), (4, 5, 6, 7)]),
        (141.1 * B, 7, 80, [(0, 1, 2), (3, 4, 5, 6)]),
        (141.1 * B, 8, 141, [(0, 1), (2, 3), (4, 5), (6, 7)]),
        # In fp32 it takes five, so there is one copy, which has all.
        (282.2 * B, 8, 80, [(0, 1, 2, 3, 4, 5, 6, 7)]),
        # Where there are no more GPUs, less is left for anything else.
        (72.0 * B, 1, 80, [(0,)]),
    ],
)
def test_as_many_copies_as_the_gpus_hold(model_bytes, gpus, gigabytes, copies):
    assert share_gpus(model_bytes, [gigabytes * GB] * gpus) == copies


def test_the_smallest_gpu_decides():
    assert share_gpus(30 * B, [80 * GB, 24 * GB]) == [(0, 1)]


def test_a_model_that_no_gpu_holds_is_refused_with_both_sizes():
    message = r"weights, 282 GB, do not fit the 2 GPUs of 80 GB here: .*dtype: bfloat16"
    with pytest.raises(RetuneError, match=message):
        share_gpus(282 * B, [80 * GB] * 2)
