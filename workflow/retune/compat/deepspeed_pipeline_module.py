"""A pipeline of DeepSpeed whose subclass says where it is cut, and fills its stage.

Overrides `_partition_layers` and `_build` of `PipelineModule`, which its constructor
calls, and uses its `_count_layer_params`, `_set_bounds`, `parts`, `stage_id`,
`_local_start`, `_local_stop`, `forward_funcs`, `tied_modules` and `ckpt_layer_path`,
and `partition_balanced`. Without these no model can be trained with
`configure.pipeline_stages` above 1: each rank would hold the whole model, the ranks
could wait for each other for ever, or the layers' checkpoint files would not be found.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from deepspeed.pipe import PipelineModule
from deepspeed.runtime.utils import partition_balanced

# The modules of tied layers are stored under it, those of the others under their place.
TIED_MODULES = "tied_modules"


class StageModule(PipelineModule):
    """One rank's stage of a pipeline; subclasses have two methods to write."""

    def stage_bounds(self, sizes: list[int]) -> list[int]:
        """Return the first layer of each stage, and the number of layers at the end.

        Args:
            sizes: Number of parameters of each layer of the pipeline.
        """
        raise NotImplementedError

    def fill_stage(self) -> None:
        """Give the modules of this stage, which exist now, their weights."""
        raise NotImplementedError

    @property
    def places(self) -> range:
        """The places in the pipeline of this stage's layers."""
        return range(self._local_start, self._local_stop)

    @property
    def stage_layers(self) -> Sequence[Callable[..., Any]]:
        """This stage's modules and functions, in the order in which they are called."""
        return self.forward_funcs

    def layer_file(self, index: int) -> str:
        """Return the checkpoint file of a layer, counted from 0 within the stage."""
        return Path(self.ckpt_layer_path("", index)).name

    def _partition_layers(self, method: str) -> None:
        """Cut the pipeline; DeepSpeed's constructor calls this."""
        self.parts = self.stage_bounds(self._count_layer_params())
        self._set_bounds(*self.parts[self.stage_id : self.stage_id + 2])

    def _build(self) -> None:
        """Make the modules of this stage; DeepSpeed's constructor calls this."""
        super()._build()
        self.fill_stage()


def balanced_bounds(sizes: Sequence[int], num_parts: int) -> list[int]:
    """Return where to cut a sequence so that the largest part is as small as can be.

    Args:
        sizes: Size of each element.
        num_parts: Number of parts.

    Returns:
        The first element of each part, and the number of elements at the end.
    """
    return [int(bound) for bound in partition_balanced(list(sizes), num_parts)]
