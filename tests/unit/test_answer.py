"""The first words of the report: as sure as the interval is, and no more."""

import pytest

from finished_run import changed, evaluation
from retune.artifacts.evaluation_metrics import Floors
from retune.reporting.answer import find_answer, floors_sentence
from retune.reporting.evaluation_figures import change_title


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
    answer = find_answer(evaluation(bits).test)
    assert answer.verdict == verdict
    assert says in answer.change


@pytest.mark.parametrize(
    ("base", "tuned", "says"),
    [
        (2.3041, 2.2941, "lowered bits per byte on 7 test documents from 2.30 to 2.29"),
        (2.3041, 2.3039, "documents from 2.3041 to 2.3039;"),
        (2.3039, 2.3041, "raised bits per byte on 7 test documents from 2.3039 to 2.3"),
        (2.3, 2.3 - 4e-6, "documents from 2.300000 to 2.299996;"),
    ],
)
def test_a_small_change_is_told_with_the_digits_that_differ(base, tuned, says):
    test = changed(
        evaluation(0).test,
        {
            "base.bits_per_byte": base,
            "tuned.bits_per_byte": tuned,
            "bits_per_byte_change_low": tuned - base,
            "bits_per_byte_change_high": tuned - base,
        },
    )
    assert says in find_answer(test).change
    assert says.partition("documents ")[2].rstrip(";") in change_title(test)


@pytest.mark.parametrize(
    ("documents", "told"), [(7, "7 test documents"), (1, "1 test document")]
)
def test_no_change_is_called_that_and_no_luck(documents, told):
    test = changed(
        evaluation(0).test,
        {
            "tuned.documents": documents,
            "bits_per_byte_change_low": 0.0,
            "bits_per_byte_change_high": 0.0,
        },
    )
    answer = find_answer(test)
    assert (answer.verdict, answer.headline) == ("unsure", "No change")
    assert answer.change == (
        f"Bits per byte on {told} did not change: 3.00 before and after."
    )
    assert change_title(test) == "No change in bits per byte: 3.00"


def test_one_document_makes_nothing_sure():
    test = changed(evaluation(-0.5).test, {"tuned.documents": 1})
    answer = find_answer(test)
    assert answer.verdict == "unsure"
    assert "on 1 test document went" in answer.change
    assert "too few documents to be sure" in answer.change


def test_what_is_worse_than_a_floor_is_not_called_simply_better():
    answer = find_answer(evaluation(-0.2).test)
    assert answer.verdict == "unsure"
    assert answer.headline == "Better than the base model, but worse than a floor"


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
    floors = Floors(unigram_bits_per_byte=2.7, uniform_bits_per_byte=3.4)
    assert says in floors_sentence(tuned, floors)
