"""The section `hardware`: the machines."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from retune.settings.section import Auto, Count, Settings

Gigabytes = Annotated[float, Field(gt=0)]


class HardwareSettings(Settings):
    """The machines the run is planned for; `auto` asks the one `configure` runs on."""

    accelerator: Literal["cpu", "cuda", "auto"] = Field(
        "cpu", description="What the ranks and both evaluations compute on."
    )
    nodes: int = Field(1, ge=1, description="Number of machines.")
    gpus_per_node: Count | Auto = Field(
        2,
        description="GPUs, and so ranks, per node; with `accelerator: cpu` the CPU"
        " ranks per node.",
    )
    gpu_memory_gb: Gigabytes | Auto = Field(
        "auto",
        description="Memory of one GPU, GB: decides between ZeRO-2 and ZeRO-3.",
    )
    cpu_memory_gb: Gigabytes | Auto = Field(
        "auto",
        description="Main memory of one node, GB; offloading must fit into it.",
    )
    nvme_path: str | None = Field(
        None, description="Folder on a fast local disk, for offloading to `nvme`."
    )
    peak_tflops: Annotated[float, Field(gt=0)] | Auto = Field(
        "auto",
        description="Dense TFLOP/s of one GPU in the run's precision, what model FLOPs"
        " utilisation is a share of; `auto`: known for common GPUs.",
    )

    @model_validator(mode="after")
    def _check_nodes(self) -> "HardwareSettings":
        if self.nodes > 1 and "auto" in (self.accelerator, self.gpus_per_node):
            raise ValueError(
                f"nodes is {self.nodes}: accelerator and gpus_per_node must be given,"
                " auto can ask one machine only"
            )
        return self
