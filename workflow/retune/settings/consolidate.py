"""The section `consolidate`."""

from pydantic import Field

from retune.settings.section import Dtype, Settings


class ConsolidateSettings(Settings):
    """How the weights are published."""

    dtype: Dtype = Field(
        "auto",
        description="Data type of the published weights; `auto`: each as in the base"
        " model's files.",
    )
    max_shard_size_gb: float = Field(
        5.0, gt=0, description="Largest safetensors file, GB."
    )
