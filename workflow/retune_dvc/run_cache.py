"""Brings outputs back that an earlier run made from the same inputs and settings."""

from pathlib import Path

from retune_dvc.dvc_internals import restore_from_run_cache
from retune_dvc.stages import Stage

# Holds a file per step whose job is to bring its outputs back instead of making them.
CACHED = Path(".snakemake/retune_dvc/cached")


def restore(names: list[str], stages: dict[str, Stage]) -> dict[str, bool]:
    """Bring back the outputs of those steps that DVC's cache has.

    A step is brought back only if the outputs that it reads are recorded, or brought
    back themselves.

    Args:
        names: The steps that would run, in the order of the run.
        stages: The stages of dvc.yaml by name.

    Returns:
        The steps that need not run, with whether anything had to be brought back.

    Raises:
        UnknownStateError: If DVC's cache cannot be read.
    """
    return restore_from_run_cache(
        names,
        {name: stages[name].deps for name in names},
        {name: stages[name].outs for name in names},
    )
