"""The figure of the predicted memory with what was measured, in the report."""

from retune.reporting.figure_style import Drawing
from retune.reporting.memory_figure import memory_figure
from retune.reporting.run_results import ReportResults


def training_memory_figure(run: ReportResults) -> Drawing:
    """Return the figure; ranks on CPUs can measure no tensors."""
    score, reasons = run.score, run.reasons
    measured = score.measured_gb if score.on_gpu else None
    return memory_figure(reasons.memory, reasons.gpu_memory_gb, measured)
