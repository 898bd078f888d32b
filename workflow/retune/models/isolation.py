"""The check that no packed document sees another, on the model that is trained."""

import deepspeed
import torch

from retune.errors import RetuneError
from retune.models.packed_inputs import packed_inputs
from retune.models.packing_check import sees_other_documents


def check_isolation(engine: deepspeed.DeepSpeedEngine) -> None:
    """Raise RetuneError if the model lets packed documents see each other.

    `fetch` has checked most families. Those of which it could make no small model are
    checked here for the first time.
    """

    def logits(input_ids: torch.Tensor, position_ids: torch.Tensor) -> torch.Tensor:
        inputs = (input_ids, position_ids, engine.device)
        made: torch.Tensor = engine(
            **packed_inputs(engine.module.config, *inputs)
        ).logits
        return made.view(*input_ids.shape, -1)

    engine.eval()
    leaks = sees_other_documents(logits)
    engine.train()
    if leaks:
        raise RetuneError(
            f"model: {engine.module.config.model_type} models let packed documents see"
            " each other in transformers; choose a model of another family"
        )
