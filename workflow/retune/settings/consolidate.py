"""The section `consolidate`."""

from pydantic import Field

from retune.settings.section import Settings


class ConsolidateSettings(Settings):
    """The published weights."""

    max_shard_size_gb: float = Field(
        5.0, gt=0, description="Largest safetensors file, GB."
    )
