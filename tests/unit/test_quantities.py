"""Numbers are told with the digits that say something, and one thing is no things."""

import pytest

from retune.quantities import change_line, counted, parameters, size


@pytest.mark.parametrize(
    ("count", "told"), [(0, "0 steps"), (1, "1 step"), (1733, "1,733 steps")]
)
def test_one_thing_is_told_in_the_singular(count, told):
    assert counted(count, "step") == told


@pytest.mark.parametrize(
    ("count", "told"),
    [
        (3_416, "3,416 parameters"),
        (124_439_808, "124.4 M parameters"),
        (7_615_616_512, "7,615.6 M parameters"),
    ],
)
def test_parameters_are_told_whatever_their_number(count, told):
    assert parameters(count) == told


@pytest.mark.parametrize(
    ("num_bytes", "told"),
    [
        (300, "0.3 kB"),
        (15_800, "15.8 kB"),
        (610_000, "0.61 MB"),
        (10_480_000, "10.5 MB"),
        (13_476_900_000, "13.5 GB"),
    ],
)
def test_a_size_has_the_unit_in_which_it_is_some(num_bytes, told):
    assert size(num_bytes) == told


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ((3.38, 2.3, -1.11, -1.05), "3.38 -> 2.30 (-1.08, 95 % -1.11 to -1.05)"),
        (
            (2.3041, 2.3039, -0.0003, -0.0001),
            "2.3041 -> 2.3039 (-0.0002, 95 % -0.0003 to -0.0001)",
        ),
        ((2.3, 2.3, 0.0, 0.0), "2.30, unchanged"),
    ],
)
def test_a_small_change_has_the_digits_that_differ(values, told):
    assert change_line(*values) == told
