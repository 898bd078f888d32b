"""Training steps of a model whose layers are spread over pipeline stages."""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import deepspeed
import deepspeed.comm as dist
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from transformers import AutoConfig

from retune.errors import RetuneError
from retune.models.base_weights import BaseWeights
from retune.models.skeleton import build_skeleton
from retune.training.packing import IGNORE_INDEX, Batch
from retune.training.pipeline_layers import FAMILIES, StagedModel, weight_names


def load_pipeline(base: Path, plan: dict[str, Any]) -> StagedModel:
    """Return this rank's stage of the base model, in fp32 and training mode.

    No rank reads the weights of another stage.

    Args:
        base: Folder in the Hugging Face layout, safetensors.
        plan: What `configure` resolved.

    Raises:
        RetuneError: If the model cannot be cut into that many stages.
    """
    config = AutoConfig.from_pretrained(
        base, trust_remote_code=False, local_files_only=True
    )
    stages = plan["pipeline_stages"]
    setting = f"configure.pipeline_stages: {stages}"
    if config.model_type not in FAMILIES:
        raise RetuneError(
            f"{setting}, but {config.model_type} models cannot be cut into stages here"
            f" ({', '.join(FAMILIES)} can); write 1"
        )
    if stages > config.num_hidden_layers:
        raise RetuneError(
            f"{setting}, but the model has {config.num_hidden_layers} decoder layers;"
            " write at most that"
        )
    skeleton = build_skeleton(
        base, dtype=torch.float32, attn_implementation=plan["attn_implementation"]
    )
    if plan["activation_checkpointing"]:
        skeleton.gradient_checkpointing_enable({"use_reentrant": False})
    stored = BaseWeights(base)

    def read(name: str) -> torch.Tensor:
        return stored.read(name).float()

    return StagedModel(skeleton, read, stages, scaled_loss).train()


class Pipeline:
    """Takes optimizer steps with a PipelineEngine.

    All micro-batches must have the same shape: DeepSpeed agrees on the size of what
    the stages send to each other once.

    Attributes:
        engine: The engine.
        data_rank: Which share of a batch is this rank's; that of all stages of one
            pipeline.
        data_world_size: Number of shares.
    """

    def __init__(self, engine: deepspeed.PipelineEngine) -> None:
        """Use an engine whose module is a StagedModel."""
        self.engine = engine
        self.data_rank = engine.grid.get_data_parallel_rank()
        self.data_world_size = engine.grid.get_data_parallel_world_size()
        # Of a batch of several sequences flash attention ignores where documents begin;
        # one long sequence costs it no more.
        self._flat = engine.module.config._attn_implementation.startswith("flash")
        self._inputs: Iterator[Any] = iter(())
        if not engine.is_first_stage() and not engine.is_last_stage():
            # DeepSpeed asks these for no data. They take theirs all the same, so that
            # whoever makes the batches sees every rank advance.
            engine.module.register_forward_pre_hook(self._skip_inputs)

    def train_batch(
        self, micro_batches: Iterable[Batch], num_labels: int, rate: float
    ) -> torch.Tensor:
        """Take one optimizer step; return the mean loss per predicted token, nats.

        The loss is the sum over all predicted tokens of the global batch divided by
        their number. DeepSpeed averages over data-parallel ranks and accumulation
        steps, so each part is scaled up by both.

        Args:
            micro_batches: This rank's, as many as there are accumulation steps.
            num_labels: Predicted tokens of the global batch.
            rate: Learning rate.

        Returns:
            A scalar on the device, the same on all ranks.
        """
        scale = self.data_world_size * self.engine.micro_batches / num_labels
        for group in self.engine.optimizer.param_groups:
            group["lr"] = rate
        self._inputs = (self._as_inputs(batch, scale) for batch in micro_batches)
        return self.engine.train_batch(self._inputs)

    def mean_loss(self, batches: Iterable[Batch]) -> float:
        """Return the mean loss per predicted token of all ranks' batches, nats.

        Every rank must bring equally many batches, all stages of a pipeline the same.
        """
        sums = torch.zeros(2, dtype=torch.float64, device=self.engine.device)
        batches = iter(batches)
        while part := list(islice(batches, self.engine.micro_batches)):
            self._inputs = (self._as_inputs(batch, 1.0) for batch in part)
            losses = self.engine.eval_batch(
                self._inputs,
                reduce_output=None,
                bcast_loss=False,
                num_micro_batches=len(part),
            )
            if self.engine.is_last_stage():
                sums[0] += torch.stack(losses).double().sum()
                sums[1] += sum(int((b.labels != IGNORE_INDEX).sum()) for b in part)
        dist.all_reduce(sums)
        self.engine.train()
        return (sums[0] / sums[1]).item()

    def named_weights(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Yield this stage's live parameters under their names in transformers.

        A tied embedding comes from the first stage alone.
        """
        names = weight_names(self.engine.module)
        for name, parameter in self.engine.module.named_parameters():
            is_copy = name.startswith("tied_modules.") and self.engine.stage_id > 0
            if not is_copy:
                yield names[name], parameter

    def _skip_inputs(self, *_: Any) -> None:
        """Take the next inputs; a hook that returned them would replace the stage's."""
        next(self._inputs)

    def _as_inputs(self, batch: Batch, scale: float) -> tuple[Any, Any]:
        """Return what the first stage takes, and the loss's labels and scale."""
        arrays = (batch.input_ids, batch.position_ids, batch.labels)
        tensors = [torch.as_tensor(array) for array in arrays]
        if self._flat:
            tensors = [tensor.reshape(1, -1) for tensor in tensors]
        return tuple(tensors[:2]), (tensors[2], torch.tensor(scale))


def scaled_loss(
    logits: torch.Tensor, target: tuple[torch.Tensor, torch.Tensor]
) -> torch.Tensor:
    """Return the sum of the losses of predicted tokens, times a scale; scalar fp32."""
    labels, scale = target
    loss_sum = cross_entropy(
        logits.float().flatten(0, 1),
        labels.flatten(),
        ignore_index=IGNORE_INDEX,
        reduction="sum",
    )
    return loss_sum * scale
