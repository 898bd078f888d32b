"""The sources of a dataset as rows of plain text, if there are several."""

from typing import NamedTuple

from retune.artifacts.origins import DataOrigin
from retune.artifacts.tokens_index import SourceBlocks
from retune.reporting.evaluation_rows import Row
from retune.reporting.run_results import RunResults
from retune.reporting.titles import title_of_source
from retune.settings import SourceSettings
from retune.tokens.mixture import num_places

HEADER = (
    "source",
    "from",
    "format",
    "documents",
    "trained tokens",
    "blocks",
    "read per epoch",
)


class Part(NamedTuple):
    """A part of the data: one source of several, or all of it.

    Attributes:
        name: Name of the source; empty if there is only one.
        settings: Its settings.
        origin: Where it came from.
    """

    name: str
    settings: SourceSettings
    origin: DataOrigin


def parts_of(run: RunResults) -> list[Part]:
    """Return the sources of a run's data, of which there is at least one."""
    dataset = run.settings.dataset
    if not run.raw.parts:
        return [Part("", dataset, run.raw)]
    return [
        Part(name, dataset.sources[name], origin)
        for name, origin in run.raw.parts.items()
    ]


def source_rows(run: RunResults) -> list[Row]:
    """Return the rows of `HEADER`: what each source gives to the training."""
    blocks = {source.name: source for source in run.tokens.sources}
    return [
        source_row(part, blocks[part.name], run)
        for part in parts_of(run)
        if part.name in blocks
    ]


def source_row(part: Part, blocks: SourceBlocks, run: RunResults) -> Row:
    """Return the row of one source.

    Args:
        part: The source.
        blocks: Its training blocks.
        run: The run.
    """
    weight = run.settings.finetune.mix.get(part.name, 1.0)
    return (
        part.name,
        title_of_source(part.settings),
        part.origin.row_format or "text",
        f"{blocks.documents:,}",
        f"{blocks.trained_tokens:,}",
        f"{blocks.blocks:,}",
        f"{num_places(blocks, weight):,}",
    )
