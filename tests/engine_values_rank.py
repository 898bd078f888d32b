"""A rank of training_ranks.py that writes down what its DeepSpeed engine goes by."""

import json
import sys
from pathlib import Path
from typing import Any

import torch

from retune.artifacts.publishing import write_json
from retune.training import loop
from retune.training.rank import leave
from training_ranks import main

FILE = "engine.json"


def told(build: Any) -> Any:
    """Return a function that loads a trainer, and tells of its engine."""

    def load_trainer(run: Any, state: Path, *others: Any) -> Any:
        trainer, resume = build(run, state, *others)
        if torch.distributed.get_rank() == 0:
            write_json(state / FILE, values_of(trainer.engine))
        return trainer, resume

    return load_trainer


def values_of(engine: Any) -> dict[str, Any]:
    """Return what an engine and its optimizer have of the DeepSpeed config."""
    offload = engine.zero_offload_optimizer()
    return {
        "batch": [
            engine.train_batch_size(),
            engine.train_micro_batch_size_per_gpu(),
            engine.gradient_accumulation_steps(),
        ],
        "clipping": engine.gradient_clipping(),
        "stage": engine.zero_optimization_stage(),
        "bucket": engine.optimizer.reduce_bucket_size,
        "offload": offload and str(offload.device),
        "persistence": engine.zero_param_persistence_threshold(),
        "accumulation": str(engine.get_data_types()[1]),
        "communication": str(engine.communication_data_type),
    }


if __name__ == "__main__":
    loop.load_trainer = told(loop.load_trainer)
    main(Path(sys.argv[1]), json.loads(sys.argv[2]))
    leave(0)
