"""A prediction of memory in words, and as a table of Markdown."""

from retune.artifacts.memory_prediction import (
    Kind,
    MemoryPrediction,
    PhaseMemory,
    PhaseName,
    Source,
)
from retune.planning.aligned_table import aligned
from retune.units import GB

PHASES: dict[PhaseName, str] = {
    "load": "loading",
    "optimizer_init": "making the optimizer",
    "forward": "forward pass",
    "backward": "backward pass",
    "step": "optimizer step",
    "validation": "validation",
    "save": "saving",
}
KINDS: dict[Kind, str] = {
    "weights": "weights",
    "gradients": "gradients",
    "optimizer_states": "optimizer states",
    "buffers": "DeepSpeed's buffers",
    "activations": "activations",
    "logits": "logits and loss",
    "temporary": "temporary",
    "workspaces": "workspaces of cuBLAS",
    "context": "context",
}


def memory_text(memory: MemoryPrediction) -> str:
    """Return a table of phases and kinds, the peak marked, and what is beside it."""
    kinds = [kind for kind in KINDS if any(in_gb(p, kind) for p in memory.phases)]
    rows = [("GB on each rank", *(KINDS[kind] for kind in kinds), "all")]
    for phase in memory.phases:
        total = f"{phase.total / GB:.2f}"
        is_peak = phase is memory.peak
        rows.append(
            (
                f"**{PHASES[phase.name]}**" if is_peak else PHASES[phase.name],
                *(f"{in_gb(phase, kind):.2f}" for kind in kinds),
                f"**{total}**" if is_peak else total,
            )
        )
    table = aligned(rows, range(1, len(kinds) + 2))
    more = [f"Main memory of a node: about {memory.main_memory_bytes / GB:.1f} GB."]
    if memory.nvme_bytes:
        more.append(f"Disk for offloading: {memory.nvme_bytes / GB:.1f} GB a node.")
    more.append(f"Disk of a checkpoint: {memory.checkpoint_bytes / GB:.2f} GB.")
    notes = "".join(f"\n- {note}" for note in memory.unverified)
    unverified = f"\n\nNot verified by a measurement:\n{notes}" if notes else ""
    return f"{peak_text(memory)}\n\n{table}\n{' '.join(more)}{unverified}\n"


def peak_text(memory: MemoryPrediction) -> str:
    """Return the peak in a sentence."""
    activations: dict[Source, str] = {
        "traced": "activations are traced through the model's own code",
        "formula": "activations are by a formula",
        "unknown": "activations are not counted",
    }
    return (
        f"Each rank is predicted to hold at most {memory.peak_bytes / GB:.2f} GB,"
        f" {in_phase(memory.peak.name)}; {activations[memory.activations]}."
    )


def in_phase(name: PhaseName) -> str:
    """Return when that is, in words."""
    phase = PHASES[name]
    is_doing = phase.endswith("ing") or " the " in phase
    return f"while {phase}" if is_doing and name != "validation" else f"in the {phase}"


def kinds_text(phase: PhaseMemory) -> str:
    """Return what is held in a phase, the largest kind first."""
    sizes = {kind: in_gb(phase, kind) for kind in KINDS}
    large = sorted((k for k in sizes if sizes[k] >= 0.05), key=lambda k: -sizes[k])
    return ", ".join(f"{KINDS[kind]} {sizes[kind]:.1f}" for kind in large)


def in_gb(phase: PhaseMemory, kind: Kind) -> float:
    """Return what a phase holds of a kind, GB."""
    return phase.bytes_by_kind.get(kind, 0) / GB
