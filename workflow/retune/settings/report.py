"""The section `report`."""

from typing import Annotated

from pydantic import Field

from retune.settings.section import Auto, Settings


class ReportSettings(Settings):
    """What the report needs to know of the machines."""

    peak_tflops: Annotated[float, Field(gt=0)] | Auto = Field(
        "auto",
        description="Dense TFLOP/s of one GPU in the run's precision, what model FLOPs"
        " utilisation is a share of; `auto`: known for common GPUs.",
    )
