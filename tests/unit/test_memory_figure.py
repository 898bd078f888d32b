"""The figure of memory: what is there, and in the report what was measured."""

import matplotlib
import pytest

from plans import make_plan
from retune.planning.memory_prediction import predict_memory
from retune.reporting.figure_style import STYLE, WIDE, draw
from retune.reporting.memory_figure import memory_figure

ON_GPU = make_plan(accelerator="cuda", num_parameters=10**9)


@pytest.mark.parametrize(
    ("limit", "measured", "lines"),
    [
        (None, None, []),
        (80.0, None, [80.0]),
        (80.0, 17.5, [80.0, 17.5]),
        # No line is cut off, though all of it was wrong.
        (None, 99.0, [99.0]),
    ],
)
def test_what_is_there_and_what_was_measured_are_lines(limit, measured, lines):
    drawing = memory_figure(predict_memory(ON_GPU), limit, measured)
    with matplotlib.rc_context(STYLE):
        (axes,) = draw(drawing, WIDE, drawing.height).axes
    assert [line.get_xdata()[0] for line in axes.lines] == lines
    assert all(line < axes.get_xlim()[1] for line in lines)
    assert ("dashed" in drawing.subtitle) == (limit is not None)
    assert ("dotted" in drawing.subtitle) == (measured is not None)


def test_the_title_compares_tensors_with_tensors():
    memory = predict_memory(ON_GPU)
    assert memory.peak_bytes - memory.peak_tensor_bytes == 700_000_000
    tensors = f"{memory.peak_tensor_bytes / 1e9:.1f} GB of tensors were predicted"
    assert tensors in memory_figure(memory, 80.0, 17.5).title
    assert memory_figure(memory, 80.0).title.startswith(
        f"{memory.peak_bytes / 1e9:.1f}"
    )
