"""The first words of the report: as sure as the interval is, and no more."""

import pytest

from finished_run import evaluation
from retune.reporting.answer import find_answer, tell_floors


@pytest.mark.parametrize(
    ("bits", "verdict", "says"),
    [
        (-0.5, "better", "lowered bits per byte on 7 test documents from 3.00 to 2.50"),
        (0.5, "worse", "raised bits per byte on 7 test documents from 3.00 to 3.50"),
        (0.05, "unsure", "went from 3.00 to 3.05, which may be the luck"),
        (-0.1, "unsure", "went from 3.00 to 2.90, which may be the luck"),
    ],
)
def test_the_answer_is_as_sure_as_the_interval(bits, verdict, says):
    answer = find_answer(evaluation(bits)["test"])
    assert answer.verdict == verdict
    assert says in answer.change


def test_one_document_makes_nothing_sure():
    test = evaluation(-0.5)["test"]
    test["tuned"]["documents"] = 1
    answer = find_answer(test)
    assert answer.verdict == "unsure"
    assert "on 1 test document went" in answer.change
    assert "too few documents to be sure" in answer.change


def test_what_is_worse_than_a_floor_is_not_called_simply_better():
    answer = find_answer(evaluation(-0.2)["test"])
    assert answer.verdict == "unsure"
    assert answer.word == "Better than the base model, but worse than a floor"


@pytest.mark.parametrize(
    ("tuned", "says"),
    [
        (2.5, "better than both floors"),
        (2.7, "does not beat the floor unigram (2.70), which"),
        (3.0, "does not beat the floor unigram (2.70), which"),
        (3.5, "does not beat the floors unigram (2.70) and uniform (3.40), which"),
    ],
)
def test_floors_that_are_not_beaten_are_named(tuned, says):
    floors = {"unigram_bits_per_byte": 2.7, "uniform_bits_per_byte": 3.4}
    assert says in tell_floors(tuned, floors)
