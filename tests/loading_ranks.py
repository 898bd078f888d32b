"""One rank that loads a model into ZeRO-3 shards and prints how much memory it took."""

import json
import os
import sys
from pathlib import Path

os.environ["DS_ACCELERATOR"] = "cpu"

import deepspeed
import torch

from plans import make_plan
from retune.engines.trainers import start_process_group
from retune.measuring.device_memory import peak_memory_gb
from retune.models.loading import load_model
from retune.models.tensor_hashes import tensor_sha256
from retune.models.weight_names import named_weights

PLAN = make_plan(zero_stage=3)


def main(base: Path) -> None:
    start_process_group(PLAN, timeout=120)
    config = {
        "train_micro_batch_size_per_gpu": 1,
        "zero_optimization": {"stage": 3},
    }
    # What the first use of anything costs is not the model's.
    deepspeed.zero.Init(config_dict_or_path=config)
    before = peak_memory_gb()
    model = load_model(base, PLAN, config)
    grown = peak_memory_gb() - before
    hashes = {}
    for name, weight in named_weights(model):
        with deepspeed.zero.GatheredParameters([weight]):
            hashes[name] = tensor_sha256(weight)
    print(json.dumps({"grown_gb": grown, "hashes": hashes}))
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
