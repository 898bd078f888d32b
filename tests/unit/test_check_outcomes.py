"""What the checks of a run come to, and how it is shown."""

import pytest

from retune.checking.outcome import Outcome, failed, not_checked, problems_in
from retune.checking.sections import Sections, read_sections
from retune.checking.shown import line_of, problems_text
from retune.errors import RetuneError
from retune.settings import ConfigureSettings, FinetuneSettings, ModelSettings
from retune.settings.rules import WrongKeyError


@pytest.mark.parametrize(
    ("outcome", "state"),
    [
        (Outcome("all"), "ok"),
        (Outcome("all", warnings=("a",)), "warning"),
        (Outcome("all", ("a",), ("b",)), "error"),
        (not_checked("no network"), "not checked"),
        (Outcome("part", warnings=("a",), is_checked=False), "warning"),
        (failed("a"), "error"),
    ],
)
def test_the_worst_is_the_state(outcome, state):
    assert outcome.state == state


def test_the_problems_of_an_error_are_told_apart():
    error = RetuneError(
        "configure.zero_stage: 3, but\nmodel.folder: ./x holds a pickle; this writes\n"
        "  (cd ./x && python)\ndataset: split train holds no rows"
    )
    assert problems_in(error) == [
        "configure.zero_stage: 3, but",
        "model.folder: ./x holds a pickle; this writes\n  (cd ./x && python)",
        "dataset: split train holds no rows",
    ]


def test_an_error_without_a_key_is_one_problem():
    assert problems_in("the model: x\nmodels/base is missing") == [
        "the model: x\nmodels/base is missing"
    ]


def test_lines_are_aligned_and_long_ones_go_on_below(monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    assert line_of("data", Outcome("chats.jsonl")) == (
        "data            ok           chats.jsonl"
    )
    lines = line_of("data", Outcome("word " * 20)).splitlines()
    assert len(lines) > 1
    assert all(line.startswith(" " * 29 + "word") for line in lines[1:])


def test_each_problem_is_told_once_with_its_lines():
    outcomes = [
        Outcome("", ("a.b: x\nmore", "c")),
        Outcome("", ("c",), ("d",)),
        Outcome(""),
    ]
    assert problems_text(outcomes) == (
        "2 errors:\n  a.b: x\n      more\n  c\n\n1 warning:\n  d"
    )
    assert problems_text([Outcome("")]) == "no errors"
    outcomes = [Outcome("", warnings=("d",)), not_checked("")]
    assert problems_text(outcomes) == "1 warning:\n  d\n\nno errors; 1 of 2 not checked"


def sections_of(tmp_path, text):
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    return read_sections(file)


def test_what_is_right_of_wrong_settings_can_be_read(tmp_path):
    sections, outcome = sections_of(
        tmp_path,
        "dataset: builtin\nmodel: builtin\nfinetune: {epoch: 1, save_steps: 7}\n",
    )
    (problem,) = outcome.errors
    assert problem.startswith("finetune.epoch: unknown key")
    assert sections.whole(ModelSettings).source == "builtin"
    assert sections.whole(FinetuneSettings) is None
    assert sections.part(FinetuneSettings).save_steps == 7
    with pytest.raises(WrongKeyError):
        sections.part(FinetuneSettings).epochs  # noqa: B018


def test_a_section_that_is_no_mapping_has_no_key_that_is_right(tmp_path):
    sections, _ = sections_of(
        tmp_path, "dataset: builtin\nmodel: builtin\nfinetune: 3\n"
    )
    with pytest.raises(WrongKeyError):
        sections.part(FinetuneSettings).lora  # noqa: B018


def test_sections_across_which_rules_are_broken_are_whole(tmp_path):
    sections, outcome = sections_of(
        tmp_path,
        "dataset: builtin\nmodel: builtin\nconfigure: {global_batch_size: 3}\n",
    )
    assert len(outcome.errors) == 1
    assert sections.whole(ConfigureSettings).global_batch_size == 3
    assert set(sections.of("configure", "nothing")) == {"configure"}


def test_a_renamed_key_is_a_warning(tmp_path):
    _, outcome = sections_of(
        tmp_path, "dataset: builtin\nmodel: builtin\nhardware: {gpus_per_node: 2}\n"
    )
    assert outcome.state == "warning"


def test_a_file_that_cannot_be_read_is_an_error(tmp_path):
    with pytest.raises(RetuneError, match="there is no file"):
        read_sections(tmp_path / "none.yaml")
    with pytest.raises(RetuneError, match="line 1"):
        sections_of(tmp_path, "a: [b")


def test_sections_that_are_missing_are_not_there():
    assert Sections({}).whole(ModelSettings) is None


def test_a_later_file_is_merged_over_the_one_before(tmp_path):
    own, other = tmp_path / "params.yaml", tmp_path / "other.yaml"
    own.write_text("dataset: builtin\nmodel: builtin\nfinetune: {seed: 1, epochs: 2}\n")
    other.write_text("finetune: {seed: 3}\n")
    sections, outcome = read_sections(own, other)
    finetune = sections.whole(FinetuneSettings)
    assert (finetune.seed, finetune.epochs) == (3, 2)
    assert outcome.found == f"{own} with {other}, 3 sections"
    alone = read_sections(other)[1]
    assert [line.partition(":")[0] for line in alone.errors] == ["dataset", "model"]
