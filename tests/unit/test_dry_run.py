"""How a dry run tells why a step would run."""

import pytest

from retune_workflow.dry_run import WIDTH, count_steps, step_lines
from retune_workflow.planned_step import PlannedStep
from retune_workflow.setting_changes import name_changes


def described(**known):
    return step_lines(PlannedStep("finetune", **known))


@pytest.mark.parametrize(
    ("known", "told"),
    [
        ({"has_outputs": False, "was_run": False, "missing": ("a",)}, "not run yet"),
        ({"has_outputs": False, "missing": ("models/base",)}, "models/base missing"),
        ({"missing": ("a", "b")}, "a and b missing"),
        ({"missing": ("a", "b", "c", "d")}, "a, b and 2 more missing"),
        ({"is_forced": True}, "forced"),
        ({"is_interrupted": True, "missing": ("a",)}, "was interrupted"),
        ({"settings": ("finetune.epochs: 1 -> 2",)}, "finetune.epochs: 1 -> 2"),
        ({"inputs": ("retune/steps/finetune.py",)}, "retune/steps/finetune.py changed"),
        ({"added": ("new.py",)}, "now reads new.py"),
        ({"removed": ("old.py",)}, "no longer reads old.py"),
        ({"follows": ("configure",)}, "follows configure"),
        ({"otherwise": "in Snakemake's words"}, "in Snakemake's words"),
    ],
)
def test_each_reason_is_told_on_the_line_of_its_step(known, told):
    assert described(**known) == f"finetune      {told}"


def test_all_reasons_are_told():
    assert described(
        is_forced=True, settings=("a: 1 -> 2", "b: 3 -> 4"), follows=("fetch",)
    ) == ("finetune      forced; a: 1 -> 2; b: 3 -> 4; follows fetch")


def test_other_inputs_that_come_with_a_setting_are_told_by_the_setting():
    shown = described(settings=("dataset: a -> b",), added=("b",), removed=("a",))
    assert shown == "finetune      dataset: a -> b"


def test_a_long_line_goes_on_below_and_parts_no_setting():
    settings = tuple(f"finetune.setting_{n}: {n} -> {n + 1}" for n in range(9))
    lines = described(settings=settings).splitlines()
    assert len(lines) > 2
    assert all(len(line) <= WIDTH for line in lines)
    assert all(line.startswith(" " * 14 + "finetune.") for line in lines[1:])
    assert [line.count(": ") == line.count(" -> ") for line in lines] == [True] * len(
        lines
    )


@pytest.mark.parametrize(
    ("planned", "up_to_date", "told"),
    [
        (10, 0, "10 steps would run."),
        (1, 9, "1 step would run; 9 are up to date."),
        (9, 1, "9 steps would run; 1 is up to date."),
    ],
)
def test_the_steps_are_counted(planned, up_to_date, told):
    assert count_steps(planned, up_to_date) == told


@pytest.mark.parametrize(
    ("before", "now", "told"),
    [
        ({"a": 1, "b": 2}, {"a": 1, "b": 2}, []),
        ({"a": "auto"}, {"a": 0.0003}, ["x.a: auto -> 0.0003"]),
        ({"a": None}, {"a": True}, ["x.a: null -> true"]),
        ({"a": 1.0}, {"a": 2.5}, ["x.a: 1 -> 2.5"]),
        ({"a": 1, "b": 2}, {"a": 3, "b": 4}, ["x.a: 1 -> 3", "x.b: 2 -> 4"]),
        ({"a": {"r": 8, "s": 1}}, {"a": {"r": 16, "s": 1}}, ["x.a.r: 8 -> 16"]),
        ({"a": None}, {"a": {"r": 16}}, ['x.a: null -> {"r": 16}']),
        ({}, {"a": 1}, ["x.a: absent -> 1"]),
        ({"a": 1}, {}, ["x.a: 1 -> absent"]),
        ({"a": ["b"]}, {"a": ["b" * 40] * 3}, ['x.a: ["b"] -> [3 values]']),
        ({"a": ["b" * 40]}, {"a": ["c" * 40]}, ["x.a: another [1 values]"]),
        ({"a": "b" * 40}, {"a": "c"}, [f"x.a: {'b' * 31}… -> c"]),
    ],
)
def test_changed_settings_are_told_with_both_values(before, now, told):
    assert list(name_changes("x", before, now)) == told


@pytest.mark.parametrize(
    ("section", "told"),
    [
        ({"source": "hub", "name": "some/model"}, "hub some/model"),
        ({"source": "local", "folder": "mine"}, "local mine"),
        ({"source": "local", "files": {"train": ["a.jsonl"]}}, "local a.jsonl"),
    ],
)
def test_another_source_is_told_alone(section, told):
    before = {"source": "builtin", "name": None, "folder": None, "seed": 0}
    assert list(name_changes("x", before, section)) == [f"x: builtin -> {told}"]
