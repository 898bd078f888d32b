"""One of the ranks that test_pipeline.py starts: the same training, cut and whole.

Run as `python tests/pipeline_ranks.py FOLDER STAGES` with RANK, WORLD_SIZE,
MASTER_ADDR and MASTER_PORT set; rank 0 writes FOLDER/results.json.
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import deepspeed
import deepspeed.comm as dist
import numpy as np
import torch
import transformers
from torch.nn.functional import cross_entropy

from plans import make_plan
from retune.artifacts.publishing import read_json, write_json
from retune.engines.pipeline import Pipeline, load_pipeline
from retune.engines.pipeline_layers import layer_files
from retune.models.fused_activations import fuse_activations
from retune.models.skeleton import build_skeleton
from retune.models.weight_matching import match_weights
from retune.tokens.blocks import IGNORE_INDEX, Batch
from tiny_facts import tiny_facts

SEQUENCE, VOCABULARY, MICRO, GLOBAL, STEPS, RATE = 32, 96, 2, 8, 3, 0.01
SHAPE = {"vocab_size": VOCABULARY, "bos_token_id": 0, "eos_token_id": 0}
LLAMA = {
    **SHAPE,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 64,
    "initializer_range": 0.2,
}
GPT2 = {
    **SHAPE,
    "n_embd": 32,
    "n_layer": 4,
    "n_head": 4,
    "n_positions": 64,
    "initializer_range": 0.2,
    "resid_pdrop": 0.0,
    "embd_pdrop": 0.0,
    "attn_pdrop": 0.0,
}
SOME_SLIDE = {"use_sliding_window": True, "sliding_window": 6, "max_window_layers": 1}
MODELS = {
    "gpt2": ("GPT2", GPT2),
    "gpt2-dropout": ("GPT2", GPT2 | {"resid_pdrop": 0.1, "attn_pdrop": 0.1}),
    "llama": ("Llama", LLAMA),
    "llama-tied": ("Llama", LLAMA | {"tie_word_embeddings": True}),
    "mistral": ("Mistral", LLAMA | {"sliding_window": 6}),
    "qwen2": ("Qwen2", LLAMA | {"tie_word_embeddings": True} | SOME_SLIDE),
    "qwen3": ("Qwen3", LLAMA | SOME_SLIDE),
}
CASES = [
    ("gpt2", "fp32", False),
    ("llama", "fp32", False),
    ("llama-tied", "fp32", True),
    ("mistral", "fp32", False),
    ("qwen2", "fp32", False),
    ("qwen3", "fp32", True),
    ("gpt2", "bf16", True),
    ("llama", "bf16", False),
]


def main() -> None:
    """Run all cases: first without a pipeline, for a pipeline changes global state."""
    folder, stages = Path(sys.argv[1]), int(sys.argv[2])
    torch.set_num_threads(1)
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    deepspeed.init_distributed()
    if dist.get_rank() == 0:
        for name in MODELS:
            make_model(folder / name, name)
    dist.barrier()
    whole = [train_whole(folder / name, *case) for name, *case in CASES]
    cut = [train_cut(folder / name, stages, *case) for name, *case in CASES]
    results: dict[str, Any] = {}
    for (name, precision, _), (a, expected), (b, weights) in zip(
        CASES, whole, cut, strict=True
    ):
        result = {"whole": a, "cut": b, **compare(expected, weights)}
        results[f"{name} {precision}"] = result
    for precision in ("fp32", "bf16"):
        name = f"resumed {precision}"
        results[name] = resume(folder, "gpt2-dropout", stages, precision)
        results[f"not finite {precision}"] = spoil(folder / "llama", stages, precision)
    if dist.get_rank() == 0:
        write_json(folder / "results.json", results)
    dist.barrier()
    dist.destroy_process_group()


def make_model(folder: Path, name: str) -> None:
    """Write a model of random weights; GPT-2 with names as the hub's has them."""
    family, values = MODELS[name]
    torch.manual_seed(0)
    config = getattr(transformers, f"{family}Config")(**values)
    model = transformers.AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    model.save_pretrained(folder, max_shard_size="20KB")
    if name == "gpt2":
        model.transformer.save_pretrained(folder, max_shard_size="20KB")
        model.config.save_pretrained(folder)
    index = read_json(folder / "model.safetensors.index.json")
    found = match_weights(build_skeleton(folder), index["weight_map"])
    tiny_facts(weights=found.groups).write(folder)


def batch_of(step: int, blocks: Any) -> Batch:
    """Return packed documents of random lengths; some blocks have few labels."""
    rows = []
    for block in blocks:
        random = np.random.default_rng([step, int(block)])
        tokens = random.integers(0, VOCABULARY, SEQUENCE)
        starts = random.random(SEQUENCE) < (0.9 if block % 4 == 1 else 0.15)
        starts[0] = True
        begin = np.maximum.accumulate(np.where(starts, np.arange(SEQUENCE), 0))
        labels = np.append(tokens[1:], IGNORE_INDEX)
        labels[:-1][starts[1:]] = IGNORE_INDEX
        rows.append((tokens, np.arange(SEQUENCE) - begin, labels))
    return Batch(*(np.stack(column) for column in zip(*rows, strict=True)))


def batches_of(step: int, rank: int, world_size: int) -> Iterator[Batch]:
    """Yield a rank's micro-batches of a step."""
    blocks = np.arange(GLOBAL).reshape(-1, world_size, MICRO)[:, rank]
    return (batch_of(step, micro) for micro in blocks)


def labels_of(step: int) -> int:
    """Return the number of predicted tokens of a step."""
    return int((batch_of(step, range(GLOBAL)).labels != IGNORE_INDEX).sum())


def initialize(model: torch.nn.Module, precision: str, data_ranks: int) -> Any:
    """Return the engine: ZeRO-1, clipping that clips, decay on matrices only."""
    parameters = list(model.parameters())
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": 0.1},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    config = {
        "train_batch_size": GLOBAL,
        "train_micro_batch_size_per_gpu": MICRO,
        "gradient_accumulation_steps": GLOBAL // MICRO // data_ranks,
        "gradient_clipping": 0.5,
        "bf16": {"enabled": precision == "bf16"},
        "zero_optimization": {"stage": 1},
        "steps_per_print": 2**31,
    }
    optimizer = torch.optim.AdamW(groups, lr=RATE, eps=1e-6)
    return deepspeed.initialize(model=model, optimizer=optimizer, config=config)[0]


def train_whole(base: Path, precision: str, checkpointing: bool) -> Any:
    """Train without a pipeline; return losses and norms, and the weights."""
    model = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    # In bf16 its rounding would show.
    fuse_activations(model)
    engine = initialize(model.train(), precision, dist.get_world_size())

    def loss_of(batch: Batch) -> torch.Tensor:
        logits = engine(
            input_ids=torch.from_numpy(batch.input_ids),
            position_ids=torch.from_numpy(batch.position_ids),
            use_cache=False,
        ).logits
        return cross_entropy(
            logits.float().flatten(0, 1),
            torch.from_numpy(batch.labels).flatten(),
            ignore_index=IGNORE_INDEX,
            reduction="sum",
        )

    losses, norms = [], []
    for step in range(STEPS):
        total, count = torch.zeros(()), labels_of(step)
        for batch in batches_of(step, dist.get_rank(), dist.get_world_size()):
            loss = loss_of(batch)
            scale = dist.get_world_size() * engine.gradient_accumulation_steps()
            engine.backward(loss * (scale / count))
            engine.step()
            total += loss.detach()
        dist.all_reduce(total)
        losses.append(total.item() / count)
        norms.append(float(engine.get_global_grad_norm()))
    with torch.no_grad():
        last = sum(loss_of(batch) for batch in batches_of(STEPS, 0, 1))
    evaluated = float(last) / labels_of(STEPS)
    weights = {n: p.detach().float() for n, p in model.named_parameters()}
    return {"losses": losses, "norms": norms, "evaluated": evaluated}, weights


def start(base: Path, stages: int, precision: str, checkpointing: bool) -> Pipeline:
    """Return a pipeline of the model."""
    plan = make_plan(pipeline_stages=stages, activation_checkpointing=checkpointing)
    data_ranks = dist.get_world_size() // stages
    pipeline = Pipeline(initialize(load_pipeline(base, plan), precision, data_ranks))
    # As for flash attention, which needs a GPU: a batch as one long sequence.
    pipeline._flat = base.name == "qwen3"
    return pipeline


def step(pipeline: Pipeline, number: int) -> float:
    """Take one step; return its loss."""
    mine = batches_of(number, pipeline.data_rank, pipeline.data_world_size)
    return pipeline.train_batch(mine, labels_of(number), RATE).item()


def train_cut(base: Path, stages: int, precision: str, checkpointing: bool) -> Any:
    """Train with a pipeline; return the same, and what each rank holds."""
    pipeline = start(base, stages, precision, checkpointing)
    module = pipeline.engine.module
    losses, norms, calls = [], [], []
    # Within a decoder layer: activation checkpointing calls it twice.
    decoder = next(layer for layer in module.forward_funcs if hasattr(layer, "mlp"))
    decoder.mlp.register_forward_pre_hook(lambda *_: calls.append(1))
    for number in range(STEPS):
        losses.append(step(pipeline, number))
        norms.append(float(pipeline.engine.get_global_grad_norm()))
    times = len(calls) / STEPS / pipeline.engine.micro_batches
    share = batches_of(STEPS, pipeline.data_rank, pipeline.data_world_size)
    evaluated = pipeline.mean_loss(share)
    weights = {n: p.detach().float() for n, p in pipeline.named_weights()}
    held = {
        "mlp_calls": times,
        "names": sorted(weights),
        "files": layer_files(module),
        "size": sum(p.numel() for p in module.parameters()),
    }
    tied = [p.detach().float() for p in module.tied_modules.parameters()]
    parts: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(parts, (weights, held, tied))
    merged: dict[str, torch.Tensor] = {}
    for part, *_ in parts:
        merged |= part
    copies = [copy for *_, tied in parts for copy in tied]
    result = {
        "losses": losses,
        "norms": norms,
        "evaluated": evaluated,
        "ranks": [held for _, held, _ in parts],
        "tied_alike": all(torch.equal(copies[0], copy) for copy in copies),
    }
    return result, merged


def compare(expected: dict[str, Any], weights: dict[str, Any]) -> dict[str, Any]:
    """Return whether the names agree, and the largest difference of a weight."""
    differences = [
        (expected[name] - weights[name]).abs().max().item()
        for name in expected.keys() & weights.keys()
    ]
    return {
        "same_names": expected.keys() == weights.keys(),
        "difference": max(differences),
    }


def resume(folder: Path, name: str, stages: int, precision: str) -> dict[str, Any]:
    """Train through, and again from a checkpoint; one run evaluates in between."""
    torch.manual_seed(dist.get_rank())
    pipeline = start(folder / name, stages, precision, True)
    step(pipeline, 0)
    state = folder / f"state-{precision}"
    pipeline.engine.save_checkpoint(str(state), tag="one", save_latest=False)
    random = torch.get_rng_state()
    through = [step(pipeline, number) for number in (1, 2)]
    weights = [p.detach().clone() for _, p in pipeline.named_weights()]

    torch.manual_seed(99)
    pipeline = start(folder / name, stages, precision, True)
    path, _ = pipeline.engine.load_checkpoint(str(state), tag="one")
    torch.set_rng_state(random)
    resumed = []
    for number in (1, 2):
        blocks = batches_of(7, pipeline.data_rank, pipeline.data_world_size)
        pipeline.mean_loss([*blocks][:1])
        resumed.append(step(pipeline, number))
    same = all(
        torch.equal(a, b.detach())
        for a, (_, b) in zip(weights, pipeline.named_weights(), strict=True)
    )
    everywhere: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(everywhere, same)
    files = sorted(p.name for p in (state / "one").iterdir())
    saved = {
        file: sorted(torch.load(state / "one" / file, weights_only=True))
        for file in files
        if file.startswith("layer_")
    }
    return {
        "loaded": path is not None,
        "through": through,
        "resumed": resumed,
        "same_weights": everywhere,
        "saved": saved,
    }


def spoil(base: Path, stages: int, precision: str) -> dict[str, Any]:
    """Take a step with a gradient that is not finite on the last stage alone."""
    pipeline = start(base, stages, precision, False)
    before = [p.detach().clone() for p in pipeline.engine.module.parameters()]
    if pipeline.engine.is_last_stage():
        norm = pipeline.engine.module.forward_funcs[-2].weight
        handle = norm.register_hook(lambda gradient: gradient * torch.nan)
    step(pipeline, 0)
    after = list(pipeline.engine.module.parameters())
    kept = all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    if pipeline.engine.is_last_stage():
        handle.remove()
    loss = step(pipeline, 1)
    moved = not torch.equal(before[0], after[0])
    ranks: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(ranks, [kept, moved, pipeline.engine.skipped_steps])
    return {"ranks": ranks, "next_loss": loss}


if __name__ == "__main__":
    main()
    # The interpreter's end would wait for DeepSpeed's threads.
    sys.stdout.flush()
    os._exit(0)
