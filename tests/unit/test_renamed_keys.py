"""Old names of settings: accepted with a hint, refused beside the new ones."""

import pytest

from retune.errors import RetuneError
from retune.settings.params import read_params
from retune.settings.renamed_keys import renaming_hints

MINIMAL = {"dataset": "builtin", "model": "builtin"}


@pytest.mark.parametrize(
    ("old", "new", "hint"),
    [
        (
            {"hardware": {"gpus_per_node": 4, "nodes": 2}},
            {"hardware": {"ranks_per_node": 4, "nodes": 2}},
            "hardware.gpus_per_node: is called hardware.ranks_per_node now; please"
            " rename it",
        ),
        (
            {"hardware": {"peak_tflops": 312}},
            {"report": {"peak_tflops": 312}},
            "hardware.peak_tflops: is called report.peak_tflops now; please rename it",
        ),
        (
            {"hardware": {"peak_tflops": 312}, "report": None},
            {"report": {"peak_tflops": 312}},
            "hardware.peak_tflops: is called report.peak_tflops now; please rename it",
        ),
    ],
)
def test_an_old_name_is_accepted_and_the_new_one_named(old, new, hint):
    values = {**MINIMAL, **old}
    assert renaming_hints(values) == [hint]
    assert read_params(values) == read_params({**MINIMAL, **new})
    assert values == {**MINIMAL, **old}


@pytest.mark.parametrize(
    "values", [MINIMAL, {**MINIMAL, "hardware": None}, {**MINIMAL, "hardware": [1]}]
)
def test_without_old_names_there_is_no_hint(values):
    assert renaming_hints(values) == []


@pytest.mark.parametrize(
    ("sections", "told"),
    [
        (
            {"hardware": {"gpus_per_node": 4, "ranks_per_node": 4}},
            "hardware.gpus_per_node: is the old name of hardware.ranks_per_node, which"
            " is given, too; keep that one",
        ),
        (
            {"hardware": {"peak_tflops": 1}, "report": {"peak_tflops": "auto"}},
            "hardware.peak_tflops: is the old name of report.peak_tflops, which is"
            " given, too; keep that one",
        ),
    ],
)
def test_both_names_of_a_key_are_an_error(sections, told):
    with pytest.raises(RetuneError) as error:
        read_params({**MINIMAL, **sections, "finetune": {"epochs": 0}})
    assert [line.strip() for line in str(error.value).splitlines()[1:]] == [
        told,
        "finetune.epochs: 0 should be greater than 0",
    ]


def test_rules_between_sections_know_old_names():
    with pytest.raises(RetuneError, match="not a multiple of ranks x micro_batch_size"):
        read_params({**MINIMAL, "hardware": {"gpus_per_node": 3}})
