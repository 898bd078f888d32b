"""The end of the main job on the terminal: base against tuned in a small table."""

from textwrap import wrap

from retune.artifacts.evaluation_metrics import EvaluationMetrics
from retune.planning.score import HEADER as SCORE_HEADER
from retune.planning.score import Score
from retune.quantities import counted, percent
from retune.reporting.answer import find_answer
from retune.reporting.evaluation_rows import (
    HEADER,
    Row,
    evaluation_rows,
    exact_match_row,
    floor_rows,
)

# Columns of the terminal, and of each column of the tables.
WIDTH = 80
WIDTHS = (17, 12, 12, 12, 20)
SCORE_WIDTHS = (26, 12, 12, 20)


def summary_lines(
    evaluation: EvaluationMetrics, has_answers: bool, score: Score | None = None
) -> list[str]:
    """Return the lines of a table of the test split, at most 80 columns wide.

    Args:
        evaluation: The evaluation.
        has_answers: Whether only answers are trained and scored.
        score: What was predicted of the training, and measured; None if it is not
            known.
    """
    test = evaluation.test
    floors = [(f"floor: {name}", value) for name, value in floor_rows(test.floors)]
    scored = counted(test.tuned.documents, "test document")
    if has_answers:
        answers = "answer" if test.tuned.documents == 1 else "answers"
        scored = f"the {answers} of {counted(test.tuned.documents, 'test example')}"
    caption = (
        f"On {scored}; the tuned model predicts {percent(test.win_rate)} of them"
        " better."
    )
    exact = [
        ("exactly right", *(value.replace("points", "pts") for value in values))
        for _, *values in exact_match_row(evaluation.exact_match)
    ]
    rows = [HEADER, *evaluation_rows(test), *exact, *floors]
    line = score.line if score else ""
    return [
        *map(aligned, rows),
        *wrap(caption, WIDTH),
        *wrap(find_answer(test).floors, WIDTH),
        *wrap(f"The training: {line}." if line else "", WIDTH),
        *(score_lines(score) if score and score.phases else ()),
    ]


def score_lines(score: Score) -> list[str]:
    """Return the lines of a table of the memory of a GPU, by phase."""
    header = ("GPU memory", *SCORE_HEADER[1:])
    rows = [header, *(phase.row for phase in score.phases)]
    return [aligned(row, SCORE_WIDTHS) for row in rows]


def aligned(row: Row, widths: tuple[int, ...] = WIDTHS) -> str:
    """Return a line: the name on the left, the values under each other."""
    name, *values = row
    cells = [
        value.rjust(width) for value, width in zip(values, widths[1:], strict=False)
    ]
    return (name.ljust(widths[0]) + "".join(cells)).rstrip()
