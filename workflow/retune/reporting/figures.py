"""The report's figures; each says its result in its title."""

from pathlib import Path

from retune.reporting.data_figure import draw_data
from retune.reporting.evaluation_figures import draw_bits_per_byte, draw_documents
from retune.reporting.run_results import RunResults
from retune.reporting.training_figures import draw_loss, draw_optimization


def draw_figures(run: RunResults, folder: Path) -> int:
    """Write every figure into a folder; return how many."""
    figures = {
        "loss": draw_loss,
        "optimization": draw_optimization,
        "bits_per_byte": draw_bits_per_byte,
        "documents": draw_documents,
        "data": draw_data,
    }
    for name, draw in figures.items():
        draw(run, folder / f"{name}.svg")
    return len(figures)
