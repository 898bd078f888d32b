"""The answer of a run in a few sentences: did tuning help, and is it enough."""

from dataclasses import dataclass
from typing import Any

from retune.quantities import counted, percent, told_apart

FLOORS = ("unigram", "uniform")


@dataclass(frozen=True)
class Answer:
    """What is told first.

    Attributes:
        verdict: `better`, `worse` or `unsure`, as sure as the interval is; also unsure
            where it is better than the base model and worse than a floor.
        word: The same for people.
        change: Base against tuned, a sentence.
        floors: Tuned against what any model should beat, a sentence.
    """

    verdict: str
    word: str
    change: str
    floors: str


def find_answer(test: dict[str, Any]) -> Answer:
    """Return the answer that the test split gives.

    Args:
        test: What metrics/evaluation.json holds of it.
    """
    verdict = verdict_of(test)
    words = {
        "better": "Better than the base model",
        "worse": "Worse than the base model",
        "unsure": "No change" if is_unchanged(test) else "No sure change",
    }
    tuned = test["tuned"]["bits_per_byte"]
    missed = missed_floors(tuned, test["floors"])
    is_poor = verdict == "better" and bool(missed)
    return Answer(
        "unsure" if is_poor else verdict,
        words[verdict] + (", but worse than a floor" if is_poor else ""),
        tell_change(test, verdict),
        tell_floors(tuned, test["floors"]),
    )


def is_unchanged(test: dict[str, Any]) -> bool:
    """Return whether both models have the very same bits per byte."""
    return test["base"]["bits_per_byte"] == test["tuned"]["bits_per_byte"]


def tell_change(test: dict[str, Any], verdict: str) -> str:
    """Return base against tuned, a sentence."""
    count = test["tuned"]["documents"]
    documents = counted(count, "test document")
    base, tuned = (test[name]["bits_per_byte"] for name in ("base", "tuned"))
    if is_unchanged(test):
        return (
            f"Bits per byte on {documents} did not change: {base:.2f} before and after."
        )
    before, after = told_apart(base, tuned)
    told = {
        "better": f"Tuning lowered bits per byte on {documents} from {before} to"
        f" {after}",
        "worse": f"Tuning raised bits per byte on {documents} from {before} to {after}",
        "unsure": f"Bits per byte on {documents} went from {before} to {after},"
        + (
            " too few documents to be sure of a change"
            if count < 2
            else " which may be the luck of which documents were held out"
        ),
    }
    share = "all" if test["win_rate"] == 1 else percent(test["win_rate"])
    won = f"; {share} of them became easier to predict" if count > 1 else ""
    return f"{told[verdict]}{won}."


def verdict_of(test: dict[str, Any]) -> str:
    """Return `better` or `worse` where the interval leaves no doubt, else `unsure`."""
    if test["tuned"]["documents"] < 2:
        return "unsure"
    if test["bits_per_byte_change_high"] < 0:
        return "better"
    return "worse" if test["bits_per_byte_change_low"] > 0 else "unsure"


def missed_floors(tuned: float, floors: dict[str, float]) -> list[str]:
    """Return the floors that a model's bits per byte are not below."""
    return [name for name in FLOORS if not tuned < floors[f"{name}_bits_per_byte"]]


def tell_floors(tuned: float, floors: dict[str, float]) -> str:
    """Return which floors a model's bits per byte are below, a sentence."""
    named = {name: f"{name} ({floors[f'{name}_bits_per_byte']:.2f})" for name in FLOORS}
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
