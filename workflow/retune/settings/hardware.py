"""The section `hardware`: the machines."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from retune.settings.section import Auto, Count, Settings

Accelerator = Literal["cpu", "cuda"]
Gigabytes = Annotated[float, Field(gt=0)]


class HardwareSettings(Settings):
    """The machines the run is planned for; `auto` asks the one `configure` runs on."""

    OPERATIONAL: ClassVar = frozenset({"nvme_path"})

    accelerator: Literal[Accelerator, "auto"] = Field(
        "cpu", description="What the ranks and both evaluations compute on."
    )
    nodes: int = Field(1, ge=1, description="Number of machines.")
    ranks_per_node: Count | Auto = Field(
        2,
        description="Ranks, which are training processes, per node: one for each GPU,"
        " or so many CPU processes. Evaluation takes no more GPUs than that. `auto`:"
        " all GPUs of this machine.",
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

    @model_validator(mode="after")
    def _check_nodes(self) -> "HardwareSettings":
        if self.nodes > 1 and "auto" in (self.accelerator, self.ranks_per_node):
            raise ValueError(
                f"nodes is {self.nodes}: accelerator and ranks_per_node must be given,"
                " auto can ask one machine only"
            )
        return self
