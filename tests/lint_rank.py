"""A CPU rank that gives each config of lint_cases.py to DeepSpeed; prints what it did.

Run as `python tests/lint_rank.py` by tests/library/test_linting.py.
"""

import copy
import json
import os
import sys
from types import SimpleNamespace
from typing import Any

os.environ["DS_ACCELERATOR"] = "cpu"

import deepspeed
import torch
from deepspeed.runtime.config import DeepSpeedConfig

from lint_cases import CASES, STEPS, Case
from lint_good_configs import GOOD, Good
from lint_random_configs import RANDOM
from retune.compat.deepspeed_operators import forgo_shared_memory_collectives


def outcome(case: Case) -> dict[str, Any]:
    """Return what DeepSpeed does with a config, and if it trains, what."""
    config = copy.deepcopy(case.config())
    try:
        if case.gpus > 1:
            ranks = SimpleNamespace(get_data_parallel_world_size=lambda: case.gpus)
            DeepSpeedConfig(config, mpu=ranks)
            return {"does": "trains"}
        engine = engine_of(config, case.client)
    except Exception as refusal:
        return {"does": "refuses", "why": f"{type(refusal).__name__}: {refusal}"[:300]}
    try:
        for _ in range(STEPS):
            inputs = torch.ones(2, 8, dtype=next(engine.module.parameters()).dtype)
            engine.backward(engine(inputs).float().pow(2).mean())
            engine.step()
    except Exception as failure:
        return {"does": "stops", "why": f"{type(failure).__name__}: {failure}"[:300]}
    return {"does": "trains", **facts(engine)}


def engine_of(config: dict[str, Any], client: str | None) -> Any:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Linear(8, 4))
    optimizer = getattr(torch.optim, client)(model.parameters()) if client else None
    return deepspeed.initialize(
        model=model,
        model_parameters=None if client else model.parameters(),
        optimizer=optimizer,
        config=config,
    )[0]


def facts(engine: Any) -> dict[str, Any]:
    """Return what a training really was."""
    read = engine._config
    dtype = "fp16" if engine.fp16_enabled() else "fp32"
    states = [dict(state) for state in engine.basic_optimizer.state.values()]
    steps = {float(state["step"]) for state in states if "step" in state}
    stage_3 = getattr(engine.optimizer, "offload_optimizer", False)
    return {
        "dtype": "bf16" if engine.bfloat16_enabled() else dtype,
        "stage": int(read.zero_optimization_stage),
        "kept": str(getattr(engine.optimizer, "master_weights_and_grads_dtype", None)),
        "clips": read.gradient_clipping,
        "adam_steps": max(steps, default=None),
        "lr": engine.get_lr()[0],
        "offloads_optimizer": bool(getattr(engine.optimizer, "cpu_offload", stage_3)),
        "offloads_parameters": bool(getattr(engine.optimizer, "offload_param", False)),
    }


def copies(good: Good) -> int:
    """Return the number of copies of the model."""
    stages = good.config.get("pipeline", {}).get("stages", 1)
    return int(good.training.gpus // (good.training.model_parallel or stages))


def is_accepted(config: dict[str, Any], copies: int) -> str:
    """Return why DeepSpeed refuses a config, or nothing."""
    ranks = SimpleNamespace(get_data_parallel_world_size=lambda: copies)
    try:
        DeepSpeedConfig(copy.deepcopy(config), mpu=ranks)
    except Exception as refusal:
        return f"{type(refusal).__name__}: {refusal}"
    return ""


if __name__ == "__main__":
    forgo_shared_memory_collectives()
    deepspeed.init_distributed("gloo")
    shown = {
        "cases": [outcome(case) for case in CASES],
        "random": [outcome(Case("", config)) for config in RANDOM],
        "good": {
            name: is_accepted(good.config, copies(good))
            for name, good in GOOD.items()
            if not good.training.transformers
        },
    }
    sys.stdout.flush()
    print(json.dumps(shown))
