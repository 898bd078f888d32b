"""The section `hardware`: the machines."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from retune.settings.section import Auto, Count, Settings

Accelerator = Literal["cpu", "cuda"]
Gigabytes = Annotated[float, Field(gt=0)]
GigabytesPerSecond = Annotated[float, Field(gt=0)]


class HardwareSettings(Settings):
    """The machines the run is planned for; `auto` asks the one `configure` runs on."""

    OPERATIONAL: ClassVar = frozenset({"nvme_path", "price_per_gpu_hour"})

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
    gpu_name: str = Field(
        "auto",
        description="Name of the GPUs, such as H100 or RTX 4090, from which `configure`"
        " knows how fast they are. `auto`: those of this machine.",
    )
    gpu_memory_gb: Gigabytes | Auto = Field(
        "auto",
        description="Memory of one GPU, GB: what `configure` chooses must fit into it.",
    )
    cpu_memory_gb: Gigabytes | Auto = Field(
        "auto",
        description="Main memory of one node, GB; offloading must fit into it.",
    )
    link_gb_per_s: GigabytesPerSecond | Auto = Field(
        "auto",
        description="What a GPU sends to the others of its node, GB/s. `auto`: by its"
        " name.",
    )
    network_gb_per_s: GigabytesPerSecond | Auto = Field(
        "auto",
        description="What a node sends to the others, GB/s. `auto`: taken to be 25,"
        " which is 200 Gbit/s.",
    )
    nvme_gb_per_s: GigabytesPerSecond | Auto = Field(
        "auto",
        description="What the disk under `nvme_path` reads, GB/s. `auto`: taken to be"
        " 3.",
    )
    nvme_path: str | None = Field(
        None, description="Folder on a fast local disk, for offloading to `nvme`."
    )
    price_per_gpu_hour: Annotated[float, Field(ge=0)] | None = Field(
        None,
        description="Price of a GPU for an hour, in any currency: `python -m retune"
        " plan` tells the cost of the run.",
    )

    @model_validator(mode="after")
    def _check_nodes(self) -> "HardwareSettings":
        if self.nodes > 1 and "auto" in (self.accelerator, self.ranks_per_node):
            raise ValueError(
                f"nodes is {self.nodes}: accelerator and ranks_per_node must be given,"
                " auto can ask one machine only"
            )
        return self
