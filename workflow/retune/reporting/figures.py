"""The figures of the report; the title of each says its result."""

from retune.reporting.data_figure import data_figure
from retune.reporting.evaluation_figures import bits_per_byte_figure, documents_figure
from retune.reporting.figure_style import Drawing
from retune.reporting.lengths_figure import lengths_figure
from retune.reporting.run_results import ReportResults
from retune.reporting.training_figures import loss_figure, optimization_figure
from retune.reporting.training_memory_figure import training_memory_figure

FIGURES = (
    loss_figure,
    optimization_figure,
    bits_per_byte_figure,
    documents_figure,
    data_figure,
    lengths_figure,
    training_memory_figure,
)


def drawings_of(run: ReportResults) -> dict[str, Drawing]:
    """Return every figure by its name."""
    return {drawing.name: drawing for drawing in (each(run) for each in FIGURES)}
