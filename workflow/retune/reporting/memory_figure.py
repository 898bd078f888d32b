"""The figure of the memory that a training is predicted to take, by phase and kind."""

from matplotlib.figure import Figure

from retune.artifacts.memory_prediction import Kind, MemoryPrediction
from retune.planning.memory_table import KINDS, PHASES, in_gb, in_phase
from retune.reporting.figure_style import (
    BASE,
    FLOOR,
    INK,
    KEPT,
    TUNED,
    VALIDATION,
    Drawing,
    few_ticks,
    is_narrow,
)
from retune.units import GB

# Beside the colours of other figures more of Okabe and Ito's.
COLOURS: dict[Kind, str] = {
    "weights": TUNED,
    "gradients": "#56B4E9",
    "optimizer_states": KEPT,
    "buffers": "#F0E442",
    "activations": VALIDATION,
    "logits": "#CC79A7",
    "temporary": BASE,
    "workspaces": "#E69F00",
    "context": FLOOR,
}
BAR_HEIGHT = 0.62


def memory_figure(
    memory: MemoryPrediction,
    limit_gb: float | None,
    measured_gb: float | None = None,
) -> Drawing:
    """Return the figure of a prediction.

    Args:
        memory: The prediction.
        limit_gb: Memory of one GPU, GB; None: not known, or the ranks are CPUs.
        measured_gb: The most that a rank has held in tensors, GB; None: not trained
            yet, or on CPUs.
    """
    kinds = [kind for kind in KINDS if any(in_gb(p, kind) for p in memory.phases)]
    phases = memory.phases[::-1]
    peak_gb = memory.peak_bytes / GB
    decimals = 1 if peak_gb >= 10 else 2

    def fill(figure: Figure) -> None:
        axes = figure.add_subplot()
        ends = [0.0] * len(phases)
        for kind in kinds:
            sizes = [in_gb(phase, kind) for phase in phases]
            colour, label = COLOURS[kind], KINDS[kind]
            places = range(len(phases))
            axes.barh(places, sizes, BAR_HEIGHT, left=ends, color=colour, label=label)
            ends = [end + size for end, size in zip(ends, sizes, strict=True)]
        for place, end in enumerate(ends):
            axes.annotate(
                f"{end:.{decimals}f}",
                (end, place),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                color=INK,
                fontsize=9,
                # Above the line of what was measured.
                bbox={"facecolor": axes.get_facecolor(), "linewidth": 0, "pad": 1},
            )
        if limit_gb is not None:
            axes.axvline(limit_gb, color=INK, linewidth=1, linestyle=(0, (4, 3)))
        if measured_gb is not None:
            axes.axvline(measured_gb, color=INK, linewidth=1.5, linestyle=(0, (1, 2)))
        axes.set_yticks(range(len(phases)), [PHASES[phase.name] for phase in phases])
        axes.grid(axis="y", visible=False)
        axes.tick_params(axis="y", length=0)
        axes.set_xlim(0, 1.1 * max(*ends, limit_gb or 0.0, measured_gb or 0.0))
        axes.xaxis.set_major_locator(few_ticks(figure))
        axes.set_xlabel("GB on each rank")
        axes.legend(
            loc="upper center",
            bbox_to_anchor=(0.45, -0.18),
            ncols=2 if is_narrow(figure) else 4,
            frameon=False,
            fontsize=9,
        )

    title = (
        f"{peak_gb:.{decimals}f} GB are predicted at most, {in_phase(memory.peak.name)}"
    )
    lines = [] if limit_gb is None else [f"{limit_gb:g} GB are there (dashed)"]
    if measured_gb is not None:
        tensors_gb = memory.peak_tensor_bytes / GB
        title = (
            f"{tensors_gb:.{decimals}f} GB of tensors were predicted at most,"
            f" {measured_gb:.{decimals}f} GB were measured"
        )
        lines.append("measured without context (dotted)")
    return Drawing(
        "memory",
        title,
        ", ".join(["What a rank holds in each phase of the training", *lines]) + ".",
        height=4.0,
        fill=fill,
        narrow_height=5.0,
    )
