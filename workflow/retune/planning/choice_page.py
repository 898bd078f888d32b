"""What else was considered, and how fast each would be: a part of the plan's page."""

from retune.planning.aligned_table import aligned
from retune.planning.choice import Candidate, kind_of, verdict
from retune.planning.duration import run_text, step_text
from retune.planning.search import Search
from retune.units import GB

# Strategies that are shown beside the chosen one.
MOST_OTHERS = 8
TRUST = (
    "Times are for ordering strategies: those of 74 trainings on GPUs were off by a"
    " factor of 1.3 in the median, and by 2.5 at worst (docs/planner.md)."
)
HEAD = ("strategy", "micro-batch", "GB", "s/step", "")


def speed_section(
    search: Search, what: str, steps: float, price: float | None = None
) -> str:
    """Return how fast the chosen strategy is predicted to be; nothing on CPUs.

    Args:
        search: What was found.
        what: What takes so many steps, in words.
        steps: Number of steps; 0: not known.
        price: Price of a GPU for an hour; None: not known.
    """
    if search.chosen is None:
        return ""
    plan, time = search.plan, search.chosen.time
    text = f"{step_text(plan, time)}."
    if steps:
        text += f" {what}: {run_text(plan, time, steps, price)}."
    assumed = "".join(f" Assumed: {one}." for one in search.assumed)
    return f"\n## Time\n\n{text} {TRUST}{assumed}\n\n"


def others_section(search: Search) -> str:
    """Return a table of the other strategies, each with why it lost; maybe nothing."""
    chosen = search.chosen
    if not search.others or chosen is None:
        return ""
    rows = [row(chosen, "chosen")]
    rows += [row(one, verdict(one, chosen)) for one in search.others[:MOST_OTHERS]]
    left = len(search.others) - MOST_OTHERS
    more = f"\n{left} slower ones are not shown.\n" if left > 0 else ""
    return (
        f"## What else was considered\n\n{aligned([HEAD, *rows], range(1, 4))}{more}\n"
    )


def row(one: Candidate, why: str) -> tuple[str, ...]:
    """Return the cells of a strategy."""
    return (
        kind_of(one.plan),
        str(one.plan.micro_batch_size),
        f"{one.memory.peak_bytes / GB:.1f}",
        f"{one.time.seconds:.3g}",
        why,
    )
