"""One of the ranks that test_packed_training.py starts: packed, and row by row.

Run as `python tests/packed_ranks.py FOLDER` with RANK, WORLD_SIZE, MASTER_ADDR and
MASTER_PORT set; rank 0 writes FOLDER/results.json.
"""

import os
import sys
from itertools import product
from pathlib import Path
from typing import Any

import deepspeed.comm as dist
import numpy as np
import torch
from deepspeed.utils import safe_get_full_grad
from torch import nn
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM

from pipeline_ranks import VOCABULARY, make_model
from plans import make_plan
from retune.artifacts.model_facts import ModelFacts
from retune.artifacts.publishing import write_json
from retune.artifacts.run_spec import RunSpec
from retune.compat.peft_names import published_name
from retune.engines import chunked_loss, trainers
from retune.measuring.stopwatch import Stopwatch
from retune.models.adapters import add_adapters
from retune.planning.deepspeed_config import deepspeed_config
from retune.settings import FinetuneSettings, Split
from retune.tokens.data_shard import DataShard
from token_files import write_packed

LENGTH, MICRO, GLOBAL, RANKS = 32, 2, 8, 2
# Name -> of the plan, and of `finetune`. A pipeline changes global state: it is last.
STRATEGIES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "ZeRO-1": ({"zero_stage": 1}, {}),
    "ZeRO-2": ({"zero_stage": 2}, {}),
    "ZeRO-3": ({"zero_stage": 3}, {}),
    "LoRA": ({"zero_stage": 2}, {"lora": {"r": 4, "lora_alpha": 8}}),
    "pipeline": ({"zero_stage": 1, "pipeline_stages": 2}, {}),
}
# How attention and loss are computed.
KERNELS: dict[str, dict[str, Any]] = {
    "whole": {"attn_implementation": "sdpa", "chunked_cross_entropy": False},
    "fast": {"attn_implementation": "varlen", "chunked_cross_entropy": True},
}
FAMILIES = ["gpt2", "llama"]
CASES = list(product(STRATEGIES, FAMILIES, KERNELS))

Rows = list[tuple[np.ndarray, np.ndarray]]
Gradients = dict[str, torch.Tensor]


def main() -> None:
    """Run all cases."""
    folder = Path(sys.argv[1])
    torch.set_num_threads(1)
    # So that each micro-batch has several chunks.
    chunked_loss.CHUNK_TOKENS["cpu"] = 16
    trainers.add_adapters = with_random_adapters
    trainers.start_process_group(make_plan(), 600)
    if dist.get_rank() == 0:
        for family in FAMILIES:
            make_model(folder / family, family)
        for split in ("train", "validation"):
            write_rows(folder / "tokens", split)
    dist.barrier()
    results = {}
    for strategy, family, kernels in CASES:
        packed = train_packed(folder, family, strategy, kernels)
        if dist.get_rank() == 0:
            whole = train_rows(folder / family, settings_of(strategy))
            results[f"{family} {strategy} {kernels}"] = compare(packed, whole)
        dist.barrier()
    if dist.get_rank() == 0:
        write_json(folder / "results.json", results)
    dist.barrier()
    dist.destroy_process_group()


def rows_of(split: Split) -> Rows:
    """Return rows of very unequal lengths and masks, each with what is trained of it.

    Some are not trained at all, which packing leaves out.
    """
    random = np.random.default_rng(len(split))
    rows = []
    for number in range(28 if split == "train" else 13):
        size = int(random.integers(2, LENGTH if number % 3 == 0 else 16))
        trained = random.random(size) < random.choice([0.0, 0.1, 0.5, 1.0])
        # A first token is predicted from nothing.
        trained[0] = False
        rows.append((random.integers(1, VOCABULARY, size), trained))
    return rows


def write_rows(folder: Path, split: Split) -> None:
    """Write the rows of a split, packed."""
    ids, masks = zip(*rows_of(split), strict=True)
    packed = write_packed(folder, split, ids, masks, length=LENGTH)
    print(split, packed, flush=True)
    assert packed.padding
    assert packed.overlong.dropped
    # One step sees every block. Of the validation one rank has a block too few.
    assert packed.blocks == (GLOBAL if split == "train" else 3), packed


def with_random_adapters(*arguments: Any) -> nn.Module:
    """Add adapters that change something: new ones multiply by 0."""
    model = add_adapters(*arguments)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def settings_of(strategy: str) -> FinetuneSettings:
    """Return the section `finetune`."""
    return FinetuneSettings(learning_rate=0.01, **STRATEGIES[strategy][1])


def train_packed(
    folder: Path, family: str, strategy: str, kernels: str
) -> dict[str, Any]:
    """Take a step on the packed blocks, as training does; return what came out."""
    values, _ = STRATEGIES[strategy]
    data_ranks = RANKS // values.get("pipeline_stages", 1)
    plan = make_plan(
        global_batch_size=GLOBAL,
        micro_batch_size=MICRO,
        gradient_accumulation_steps=GLOBAL // MICRO // data_ranks,
        ranks_per_node=RANKS,
        sequence_length=LENGTH,
        **values,
        **KERNELS[kernels],
    )
    run = RunSpec(
        settings=settings_of(strategy),
        base=folder / family,
        tokens=folder / "tokens",
        plan=plan,
        deepspeed=deepspeed_config(plan),
    )
    trainer = trainers.build_trainer(run, run.deepspeed, Stopwatch())
    shard = trainer.data_rank, trainer.data_world_size
    data = DataShard(run.tokens, plan, 0, *shard)
    validated = trainer.mean_loss(data.validation_batches())
    step = data.step_data(0)
    gradients: Gradients = {}

    def keep_gradients(*_: object) -> None:
        for name, weight in trainer.named_weights():
            if weight.requires_grad:
                gradients[name] = safe_get_full_grad(weight).clone()

    # They are complete before the optimizer takes its step, and before clipping.
    optimizer = trainer.engine.optimizer
    take_step = optimizer.step

    def step_after_looking(*arguments: Any, **options: Any) -> Any:
        keep_gradients()
        return take_step(*arguments, **options)

    optimizer.step = step_after_looking
    loss = trainer.train_batch(iter(step.micro_batches), step.num_labels, 0.01)
    parts: list[Any] = [None] * RANKS
    dist.all_gather_object(parts, gradients)
    merged = {name: value for part in parts for name, value in part.items()}
    return {"loss": loss.item(), "validation": validated, "gradients": merged}


def train_rows(base: Path, settings: FinetuneSettings) -> dict[str, Any]:
    """Do the same with plain PyTorch, one row at a time."""
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).train()
    if settings.lora:
        torch.manual_seed(settings.seed)
        model = with_random_adapters(model, ModelFacts.read(base), settings.lora)
    validation, _ = losses_of(model, rows_of("validation"))
    loss, gradients = losses_of(model, rows_of("train"))
    return {"loss": loss, "validation": validation, "gradients": gradients}


def losses_of(model: nn.Module, rows: Rows) -> tuple[float, Gradients]:
    """Return the mean loss per trained token, and its gradients."""
    model.zero_grad()
    count = sum(int(trained.sum()) for _, trained in rows)
    total = 0.0
    for row, mask in rows:
        ids, trained = torch.as_tensor(row), torch.as_tensor(mask)[1:]
        logits = model(ids[None], use_cache=False).logits[0, :-1]
        loss = cross_entropy(logits[trained], ids[1:][trained], reduction="sum")
        (loss / count).backward()
        total += loss.item()
    named = model.named_parameters()
    return total / count, {
        published_name(name): weight.grad.clone()
        for name, weight in named
        if weight.grad is not None
    }


def compare(packed: dict[str, Any], whole: dict[str, Any]) -> dict[str, Any]:
    """Return both losses, and how far the gradients are from each other."""
    found, expected = packed.pop("gradients"), whole.pop("gradients")
    differences = {
        name: (found[name] - expected[name]).norm() ** 2
        for name in found.keys() & expected.keys()
    }
    size = sum(gradient.norm() ** 2 for gradient in expected.values()) ** 0.5
    return {
        "packed": packed,
        "rows": whole,
        "same_names": found.keys() == expected.keys(),
        "gradient": size.item(),
        "difference": (sum(differences.values()) ** 0.5 / size).item(),
    }


if __name__ == "__main__":
    main()
    # The interpreter's end would wait for DeepSpeed's threads.
    sys.stdout.flush()
    os._exit(0)
