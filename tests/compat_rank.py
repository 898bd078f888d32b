"""A process in which DeepSpeed is used as `retune.compat` uses it; prints what it saw.

Run as `python tests/compat_rank.py CHECK` by test_compat_deepspeed.py, for DeepSpeed
keeps global state and takes an engine once per process.
"""

import json
import os
import sys
from typing import Any

os.environ["DS_ACCELERATOR"] = "cpu"

import deepspeed
import torch
from deepspeed.pipe import LayerSpec
from torch import nn
from transformers import AutoModelForCausalLM, LlamaConfig

from retune.compat.deepspeed_operators import forgo_shared_memory_collectives
from retune.compat.deepspeed_parameters import is_sharded, whole_numel, whole_shape
from retune.compat.deepspeed_pipeline_engine import (
    accumulation_steps,
    data_parallel_rank,
    data_parallel_world_size,
    evaluate_micro_batches,
    stage_of,
)
from retune.compat.deepspeed_pipeline_module import StageModule, balanced_bounds
from retune.compat.transformers_empty_model import without_initial_weights

BATCHES = {
    "train_micro_batch_size_per_gpu": 1,
    "gradient_accumulation_steps": 2,
    "steps_per_print": 2**31,
}


class Stage(StageModule):
    """Three linear layers; keeps what its two methods were called with."""

    sizes: list[int] | None = None
    modules_at_fill: int | None = None

    def stage_bounds(self, sizes: list[int]) -> list[int]:
        self.sizes = sizes
        return [0, len(sizes)]

    def fill_stage(self) -> None:
        self.modules_at_fill = len(self.stage_layers)


def operators() -> dict[str, Any]:
    """Join a process group of one; DeepSpeed must not compile for it."""
    known = "deepspeed_shm_comm" in deepspeed.ops.__compatible_ops__
    start()
    return {"known": known, "compiled": os.listdir(os.environ["TORCH_EXTENSIONS_DIR"])}


def parameters() -> dict[str, Any]:
    """Shard a layer by ZeRO-3."""
    start()
    config = {**BATCHES, "bf16": {"enabled": True}, "zero_optimization": {"stage": 3}}
    llama = LlamaConfig(
        **{"vocab_size": 60, "hidden_size": 32, "intermediate_size": 48},
        **{"num_hidden_layers": 1, "num_attention_heads": 4},
    )
    AutoModelForCausalLM.from_config(llama)
    with without_initial_weights(), deepspeed.zero.Init(config_dict_or_path=config):
        model = AutoModelForCausalLM.from_config(llama)
    weight = model.lm_head.weight
    plain = nn.Linear(3, 2).weight
    return {
        "sharded": [is_sharded(weight), is_sharded(plain)],
        "shapes": [list(whole_shape(weight)), list(whole_shape(plain))],
        "numels": [whole_numel(weight), whole_numel(plain)],
        "frequencies": str(model.model.rotary_emb.inv_freq.dtype),
    }


def pipeline() -> dict[str, Any]:
    """Build a pipeline of one stage and evaluate three micro-batches."""
    start()
    layers = [LayerSpec(nn.Linear, 4, 4) for _ in range(3)]
    stage = Stage(layers=layers, num_stages=1, loss_fn=nn.MSELoss())
    engine, *_ = deepspeed.initialize(
        model=stage,
        optimizer=torch.optim.AdamW(stage.parameters()),
        config={**BATCHES, "zero_optimization": {"stage": 0}},
    )
    inputs = [(torch.ones(1, 4), torch.full((1, 4), float(n))) for n in range(3)]
    losses = evaluate_micro_batches(engine, iter(inputs), 3)
    return {
        "sizes": stage.sizes,
        "modules_at_fill": stage.modules_at_fill,
        "places": list(stage.places),
        "file": stage.layer_file(1),
        "bounds": balanced_bounds([3, 1, 1, 1], 2),
        "data_parallel": [data_parallel_rank(engine), data_parallel_world_size(engine)],
        "stage": stage_of(engine),
        "steps": accumulation_steps(engine),
        "losses": losses and [loss.item() for loss in losses],
        "wanted": [nn.MSELoss()(stage(x), y).item() for x, y in inputs],
    }


def start() -> None:
    """Join a process group of one rank."""
    forgo_shared_memory_collectives()
    deepspeed.init_distributed()


if __name__ == "__main__":
    checks = {check.__name__: check for check in (operators, parameters, pipeline)}
    print("\n" + json.dumps(checks[sys.argv[1]]()), flush=True)
    torch.distributed.destroy_process_group()
