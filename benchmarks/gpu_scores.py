"""How good the planner's predictions were, over all trainings of its grid."""

from collections.abc import Iterable, Sequence
from statistics import median
from typing import Any

# Trainings of which an order says something.
LEAST = 4

Record = dict[str, Any]


def summary(records: Sequence[Record]) -> str:
    """Return the scores in a few lines of Markdown, and a table of the phases.

    Args:
        records: Of trainings, as `gpu_planner` writes them.
    """
    done = [one for one in records if "error" not in one]
    lines = [f"{len(done)} of {len(records)} trainings were measured."]
    if done:
        worst = max(done, key=lambda one: abs(one["error %"]))
        middle = median(abs(one["error %"]) for one in done)
        lines += [
            f"Peak of tensors: median error {middle:.2f} %, worst"
            f" {worst['error %']:+.1f} % ({worst['model']}: {worst['training']}).",
            f"Time of a step: {order_text(done)}",
        ]
        for key, group in groups(done).items():
            if len(group) >= LEAST:
                lines.append(f"{key}: {choice_text(group)}")
    failed = [one for one in records if "CUDA out of memory" in one.get("error", "")]
    wrong = [one for one in failed if one["fits"]]
    lines.append(f"Said to fit, and ran out: {len(wrong)}{named(wrong)}")
    larger = [one for one in records if one["is_beyond"]]
    if larger:
        # What was not tried for lack of time says nothing.
        found = sum(one in failed for one in larger)
        tried = sum(one in failed or one in done for one in larger)
        lines.append(
            f"Micro-batches that are predicted not to fit: {found} of {tried} ran out"
        )
    bullets = "\n".join(f"- {line}" for line in lines)
    return "\n\n".join(filter(None, [bullets, phase_table(done)]))


def phase_table(done: Sequence[Record]) -> str:
    """Return how well the memory of each phase was predicted; empty if none was known.

    Args:
        done: Of trainings that were measured.
    """
    errors: dict[str, list[float]] = {}
    for one in done:
        for phase, measured in one.get("phases", {}).items():
            predicted = one["predicted phases"].get(phase)
            if predicted is not None and measured:
                errors.setdefault(phase, []).append(100 * (predicted / measured - 1))
    if not errors:
        return ""
    lines = [
        "| phase | trainings | median error % | least | most |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for phase, shares in errors.items():
        middle = median(map(abs, shares))
        lines.append(
            f"| {phase} | {len(shares)} | {middle:.2f} | {min(shares):+.1f}"
            f" | {max(shares):+.1f} |"
        )
    return "\n".join(lines)


def named(records: Iterable[Record]) -> str:
    """Return the names of trainings, after a colon if there are any."""
    names = "; ".join(f"{one['model']}: {one['training']}" for one in records)
    return f": {names}" if names else ""


def groups(records: Iterable[Record]) -> dict[str, list[Record]]:
    """Return the trainings of each model and length in bf16: a planner's choices."""
    by_key: dict[str, list[Record]] = {}
    for one in records:
        if one["precision"] == "bf16":
            key = f"{one['model']} at {one['length']} tokens"
            by_key.setdefault(key, []).append(one)
    return by_key


def order_text(records: Sequence[Record]) -> str:
    """Return how well the predicted times have the order of the measured ones."""
    ratios = [one["predicted s/step"] / one["s/step"] for one in records]
    text = f"predicted / measured {median(ratios):.2f} in the median"
    text += f" ({min(ratios):.2f}-{max(ratios):.2f})"
    if len(records) < LEAST:
        return text
    rank = rank_correlation(
        [one["predicted s/step"] for one in records],
        [one["s/step"] for one in records],
    )
    return f"{text}, rank correlation {rank:.3f}."


def choice_text(group: Sequence[Record]) -> str:
    """Return what the strategy costs that is predicted to be the fastest."""
    chosen = max(group, key=lambda one: one["predicted tokens/s"])
    fastest = max(group, key=lambda one: one["tokens/s"])
    slower = fastest["tokens/s"] / chosen["tokens/s"] - 1
    rank = rank_correlation(
        [one["predicted tokens/s"] for one in group],
        [one["tokens/s"] for one in group],
    )
    return (
        f"the choice ({chosen['training']}) takes {100 * slower:.1f} % longer than the"
        f" fastest of {len(group)} ({fastest['training']}); rank correlation of"
        f" tokens/s {rank:.3f}."
    )


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> float:
    """Return Spearman's rank correlation of two lists without equal values."""
    number = len(first)
    squares = sum(
        (one - other) ** 2
        for one, other in zip(ranks(first), ranks(second), strict=True)
    )
    return 1 - 6 * squares / (number * (number**2 - 1))


def ranks(values: Sequence[float]) -> list[int]:
    """Return the place of each value among the ascending ones."""
    order = sorted(range(len(values)), key=values.__getitem__)
    places = {index: place for place, index in enumerate(order)}
    return [places[index] for index in range(len(values))]
