"""Why a step would run, in a few words each."""

from collections.abc import Iterator

from retune_workflow.planned_step import PlannedStep

# At most so many names of one kind are shown; the others are counted.
MOST_NAMES = 2


def find_reasons(step: PlannedStep) -> list[str]:
    """Return all reasons that are true of a step."""
    if not (step.has_outputs or step.was_run):
        return ["not run yet"]
    return list(own_reasons(step)) + (
        [f"follows {', '.join(step.follows)}"] if step.follows else []
    ) or [step.otherwise]


def own_reasons(step: PlannedStep) -> Iterator[str]:
    """Yield the reasons that do not come from the steps before it."""
    if step.is_forced:
        yield "forced"
    if step.is_interrupted:
        yield "was interrupted"
    elif step.missing:
        yield f"{names(step.missing)} missing"
    yield from map(glued, step.settings)
    if step.inputs:
        yield f"{names(step.inputs)} changed"
    if step.added and not step.settings:
        yield f"now reads {names(step.added)}"
    if step.removed and not step.settings:
        yield f"no longer reads {names(step.removed)}"


def glued(text: str) -> str:
    """Return a text that no line break may part."""
    return text.replace(" ", "\N{NO-BREAK SPACE}")


def names(paths: tuple[str, ...]) -> str:
    """Return the first of several names, and how many others there are."""
    shown = list(paths[:MOST_NAMES])
    if others := len(paths) - len(shown):
        return f"{', '.join(shown)} and {others} more"
    return " and ".join(filter(None, [", ".join(shown[:-1]), shown[-1]]))
