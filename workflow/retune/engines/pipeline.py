"""Training steps of a model whose layers are spread over pipeline stages."""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import deepspeed
import torch
from torch import nn
from transformers import AutoConfig

from retune.artifacts.model_facts import ModelFacts
from retune.artifacts.plan import Plan
from retune.compat.deepspeed_pipeline_engine import (
    accumulation_steps,
    data_parallel_rank,
    data_parallel_world_size,
    evaluate_micro_batches,
    stage_of,
)
from retune.compat.deepspeed_pipeline_module import TIED_MODULES
from retune.compat.transformers_attention import attention_kernels, is_flash_attention
from retune.engines.loss import MeanLoss, backward_scale, count_labels
from retune.engines.pipeline_layers import FAMILIES, StagedModel, weight_names
from retune.errors import RetuneError
from retune.models.activation_checkpointing import checkpoint_activations
from retune.models.base_weights import BaseWeights
from retune.models.compiled_layers import compile_layers
from retune.models.fused_activations import fuse_activations
from retune.models.liger_kernels import use_liger_kernels
from retune.models.packed_documents import PackedDocuments
from retune.models.skeleton import build_skeleton
from retune.models.varlen_attention import VARLEN, register_varlen
from retune.tokens.blocks import Batch

# What DeepSpeed takes from its data iterator for one micro-batch: the first stage gets
# (input_ids, position_ids), the loss of the last one gets (labels, scale).
StageData = tuple[tuple[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]


def load_pipeline(base: Path, plan: Plan) -> StagedModel:
    """Return this rank's stage of the base model, in fp32 and training mode.

    No rank reads the weights of another stage.

    Args:
        base: Folder in the Hugging Face layout, safetensors.
        plan: Plan of the training; its `pipeline_stages` is the number of ranks that
            the model is spread over.

    Raises:
        RetuneError: If the model cannot be cut into that many stages.
    """
    config = AutoConfig.from_pretrained(
        base, trust_remote_code=False, local_files_only=True
    )
    stages = plan.pipeline_stages
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
    register_varlen()
    skeleton = build_skeleton(
        base, dtype=torch.float32, attn_implementation=plan.attn_implementation
    )
    fuse_activations(skeleton)
    use_liger_kernels(skeleton, plan)
    checkpoint_activations(skeleton, plan)
    compile_layers(skeleton, plan)
    stored = BaseWeights(base)

    def read(name: str) -> torch.Tensor:
        return stored.read(name).float()

    output_head = (
        ModelFacts.read(base).output_head if plan.chunked_cross_entropy else None
    )
    return StagedModel(skeleton, read, stages, output_head).train()


class Pipeline:
    """Optimizer steps with a PipelineEngine.

    All micro-batches must have the same shape: DeepSpeed agrees on the size of what
    the stages send to each other once.

    Attributes:
        engine: The engine.
        data_rank: Number of this rank's pipeline among the data-parallel pipelines; the
            same on all stages of one pipeline.
        data_world_size: Number of data-parallel pipelines.
    """

    def __init__(self, engine: deepspeed.PipelineEngine) -> None:
        """Use an engine whose module is a StagedModel."""
        self.engine = engine
        self.data_rank = data_parallel_rank(engine)
        self.data_world_size = data_parallel_world_size(engine)
        # In a batch of several sequences flash attention ignores where documents begin;
        # one long sequence costs it no more.
        self._flat = is_flash_attention(engine.module.config)
        self._inputs: Iterator[StageData] = iter(())
        if not engine.is_first_stage() and not engine.is_last_stage():
            # DeepSpeed asks the stages in the middle for no data. They take theirs all
            # the same: each batch that a rank takes is a sign that it advances.
            engine.module.register_forward_pre_hook(self._skip_inputs)

    def train_batch(
        self, micro_batches: Iterable[Batch], num_labels: int, rate: float
    ) -> torch.Tensor:
        """Take one optimizer step; return the mean loss per predicted token, nats.

        Args:
            micro_batches: Micro-batches of this rank's pipeline, one per accumulation
                step.
            num_labels: Number of predicted tokens of the global batch.
            rate: Learning rate.

        Returns:
            A scalar on the device, the same on all ranks.
        """
        scale = backward_scale(
            num_labels, self.data_world_size, accumulation_steps(self.engine)
        )
        for group in self.engine.optimizer.param_groups:
            group["lr"] = rate
        self._inputs = (self._stage_data(batch, scale) for batch in micro_batches)
        return self.engine.train_batch(self._inputs)

    def mean_loss(self, batches: Iterable[Batch]) -> float:
        """Return the mean loss per predicted token of all ranks' batches, nats.

        Every rank must bring equally many batches, all stages of a pipeline the same.
        """
        mean = MeanLoss(self.engine.device)
        batches = iter(batches)
        while group := list(islice(batches, accumulation_steps(self.engine))):
            self._inputs = (self._stage_data(batch, 1.0) for batch in group)
            losses = evaluate_micro_batches(self.engine, self._inputs, len(group))
            if losses is not None:
                num_labels = sum(count_labels(batch) for batch in group)
                mean.add(torch.stack(losses).double().sum(), num_labels)
        loss = mean.over_all_ranks()
        self.engine.train()
        return loss

    def named_weights(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Yield this stage's live parameters under their names in Transformers.

        A tied embedding comes from the first stage alone.
        """
        names = weight_names(self.engine.module)
        for name, parameter in self.engine.module.named_parameters():
            is_copy = name.startswith(f"{TIED_MODULES}.") and stage_of(self.engine) > 0
            if not is_copy:
                yield names[name], parameter

    def _skip_inputs(self, *_: object) -> None:
        """Take the next inputs; a hook that returned them would replace the stage's."""
        next(self._inputs)

    def _stage_data(self, batch: Batch, scale: float) -> StageData:
        """Return what DeepSpeed takes from its data iterator for one micro-batch.

        It is taken right before the stage's forward pass, so the stage is told here
        where the documents begin: on a GPU it would have to wait for position_ids.

        Args:
            batch: The micro-batch.
            scale: Number that the sum of its losses is multiplied by.
        """
        arrays = (batch.input_ids, batch.position_ids, batch.labels)
        input_ids, position_ids, labels = (torch.as_tensor(array) for array in arrays)
        module, device = self.engine.module, self.engine.device
        if attention_kernels(module.config) == VARLEN:
            module.packed_documents = PackedDocuments.of(position_ids, device)
        if self._flat:
            input_ids, position_ids, labels = (
                tensor.reshape(1, -1) for tensor in (input_ids, position_ids, labels)
            )
        return (input_ids, position_ids), (labels, torch.tensor(scale))
