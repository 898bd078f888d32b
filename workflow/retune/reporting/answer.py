"""The answer of a run in a few sentences: did tuning help, and is it enough."""

from dataclasses import dataclass
from typing import Literal

from retune.artifacts.evaluation_metrics import (
    Comparison,
    ComparisonWithFloors,
    Floors,
)
from retune.quantities import counted, distinct_numbers, percent
from retune.reporting.terms import TEXTS, Terms

Verdict = Literal["better", "worse", "unsure"]


@dataclass(frozen=True)
class Answer:
    """The first words of the report.

    Attributes:
        verdict: Verdict that the interval allows; also `unsure` where the tuned model
            is better than the base model and worse than a floor.
        headline: Verdict in words.
        change: Sentence that compares the base and the tuned model.
        floors: Sentence that compares the tuned model with the floors.
    """

    verdict: Verdict
    headline: str
    change: str
    floors: str


def find_answer(test: ComparisonWithFloors, terms: Terms = TEXTS) -> Answer:
    """Return the answer that the comparison on the test split gives.

    Args:
        test: The comparison.
        terms: What the documents are called, and the measure of them.
    """
    verdict = verdict_of(test)
    headlines = {
        "better": "Better than the base model",
        "worse": "Worse than the base model",
        "unsure": "No change" if is_unchanged(test) else "No sure change",
    }
    tuned = test.tuned.bits_per_byte
    is_poor = verdict == "better" and bool(missed_floors(tuned, test.floors))
    return Answer(
        "unsure" if is_poor else verdict,
        headlines[verdict] + (", but worse than a floor" if is_poor else ""),
        change_sentence(test, terms),
        floors_sentence(tuned, test.floors),
    )


def is_unchanged(test: Comparison) -> bool:
    """Return whether both models have the very same bits per byte."""
    return test.base.bits_per_byte == test.tuned.bits_per_byte


def change_sentence(test: Comparison, terms: Terms) -> str:
    """Return a sentence that compares the base and the tuned model.

    Args:
        test: The comparison.
        terms: What the documents are called, and the measure of them.
    """
    count = test.tuned.documents
    documents = f"{terms.measure} on {counted(count, f'test {terms.document}')}"
    capitalized = documents[0].upper() + documents[1:]
    base, tuned = test.base.bits_per_byte, test.tuned.bits_per_byte
    if is_unchanged(test):
        return f"{capitalized} did not change: {base:.2f} before and after."
    before, after = distinct_numbers(base, tuned)
    sentence = {
        "better": f"Tuning lowered {documents} from {before} to {after}",
        "worse": f"Tuning raised {documents} from {before} to {after}",
        "unsure": f"{capitalized} went from {before} to {after},"
        + (
            f" too few {terms.documents} to be sure of a change"
            if count < 2
            else f" which may be the luck of which {terms.documents} were held out"
        ),
    }[verdict_of(test)]
    easier = "all" if test.win_rate == 1 else percent(test.win_rate)
    won = f"; {easier} of them became easier to predict" if count > 1 else ""
    return f"{sentence}{won}."


def verdict_of(test: Comparison) -> Verdict:
    """Return `better` or `worse` where the interval leaves no doubt, else `unsure`."""
    if test.tuned.documents < 2:
        return "unsure"
    if test.bits_per_byte_change_high < 0:
        return "better"
    return "worse" if test.bits_per_byte_change_low > 0 else "unsure"


def by_name(floors: Floors) -> dict[str, float]:
    """Return the bits per byte of each floor by its name."""
    return {
        "unigram": floors.unigram_bits_per_byte,
        "uniform": floors.uniform_bits_per_byte,
    }


def missed_floors(tuned: float, floors: Floors) -> list[str]:
    """Return the names of the floors that a model's bits per byte are not below."""
    return [name for name, floor in by_name(floors).items() if not tuned < floor]


def floors_sentence(tuned: float, floors: Floors) -> str:
    """Return a sentence on which floors a model's bits per byte are below."""
    named = {name: f"{name} ({floor:.2f})" for name, floor in by_name(floors).items()}
    missed = [named[name] for name in missed_floors(tuned, floors)]
    if not missed:
        return (
            "The tuned model is better than both floors, which know no context:"
            f" {' and '.join(named.values())}."
        )
    plural = "s" if len(missed) > 1 else ""
    return (
        f"The tuned model does not beat the floor{plural} {' and '.join(missed)},"
        " which a model without any context reaches: it is of little use yet."
    )
