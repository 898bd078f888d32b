"""Two DeepSpeed ranks that write a checkpoint of every layout, for tests.

    python -m torch.distributed.run --nproc_per_node 2 checkpoint_worker.py FOLDER

FOLDER/base is a tiny GPT-2. Each checkpoint gets its own folder under FOLDER, with one
step of training behind it, and beside it what the live weights were.
"""

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import deepspeed
import deepspeed.comm as dist
import torch
from deepspeed.pipe import LayerSpec, PipelineModule, TiedLayerSpec
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
from torch import nn
from transformers import AutoModelForCausalLM, PreTrainedModel

from retune.artifacts.checkpoint_manifest import CheckpointManifest
from retune.artifacts.checkpoint_weights import FILE as WEIGHTS
from retune.artifacts.publishing import write_json
from retune.checkpoints.checkpoint_writer import hash_some_files
from retune.models.tensor_hashes import tensor_sha256

RATE = 1e-2
VOCABULARY = 300
WIDTH = 16
IDS = torch.arange(8).repeat(2, 1)


def main() -> None:
    """Write all checkpoints, or those named after FOLDER."""
    folder, *names = sys.argv[1:]
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    deepspeed.init_distributed(verbose=False)
    for name, save in checkpoints(Path(folder)):
        if name in names or not names:
            torch.manual_seed(1)
            save(Path(folder) / name)
    dist.destroy_process_group()


def checkpoints(folder: Path) -> Iterator[tuple[str, Any]]:
    """Yield each checkpoint's name and the function that writes it."""
    base = folder / "base"
    for stage in (0, 1, 2, 3):
        for dtype in ("fp32", "bf16"):
            if (stage, dtype) != (0, "bf16"):
                yield (
                    f"zero{stage}-{dtype}",
                    lambda target, s=stage, d=dtype: full(base, target, s, d),
                )
    yield "offload-cpu", lambda t: full(base, t, 3, "bf16", offload="cpu")
    if nvme_is_built():
        yield (
            "offload-nvme",
            lambda t: full(base.with_name("wide"), t, 3, "bf16", offload="nvme"),
        )
    yield "lora2-fp32", lambda t: adapters(base, t, 2, "fp32")
    yield "lora3-bf16", lambda t: adapters(base, t, 3, "bf16")
    yield "lora2-bf16-bare", lambda t: adapters(base, t, 2, "bf16", True)
    yield "lora3-fp32-bare", lambda t: adapters(base, t, 3, "fp32", True)
    yield "lora2-bf16-dora", lambda t: adapters(base, t, 2, "bf16", use_dora=True)
    yield "lora3-fp32-dora", lambda t: adapters(base, t, 3, "fp32", use_dora=True)
    for dtype in ("fp32", "bf16"):
        yield f"pipeline-{dtype}", lambda t, d=dtype: pipeline(t, d)


def nvme_is_built() -> bool:
    """Return whether async_io is compiled already: that takes many minutes."""
    cache = Path(
        os.environ.get("TORCH_EXTENSIONS_DIR", Path.home() / ".cache/torch_extensions")
    )
    return any(cache.rglob("async_io.so"))


def config_of(stage: int, dtype: str, offload: str, swap: Path) -> dict[str, Any]:
    """Return the DeepSpeed config of a tiny run."""
    zero: dict[str, Any] = {"stage": stage, "sub_group_size": 2000}
    if offload != "none":
        zero["offload_optimizer"] = {"device": offload, "nvme_path": str(swap)}
        zero["sub_group_size"] = 10**9
    return {
        "train_micro_batch_size_per_gpu": len(IDS),
        "zero_optimization": zero,
        "zero_force_ds_cpu_optimizer": False,
        "zero_allow_untested_optimizer": True,
        "bf16": {"enabled": dtype == "bf16"},
        "steps_per_print": 10**9,
    }


def full(
    base: Path, target: Path, stage: int, dtype: str, offload: str = "none"
) -> None:
    """Train all weights and save."""
    model = load(base)
    swap = target.with_name("swap")
    engine = start(model, config_of(stage, dtype, offload, swap))
    step(engine)
    save(engine, target, {"tensors": live(engine, {n: n for n in names_of(model)})})
    shutil.rmtree(swap, ignore_errors=True)


def adapters(
    base: Path,
    target: Path,
    stage: int,
    dtype: str,
    bare: bool = False,
    use_dora: bool = False,
) -> None:
    """Train LoRA adapters and save; `bare`: without the frozen weights."""
    model = load(base)
    parameters = {id(p): name for name, p in model.named_parameters()}
    config = LoraConfig(
        **{"r": 4, "lora_alpha": 16, "target_modules": ["c_attn", "c_proj"]},
        **{"use_rslora": bare, "use_dora": use_dora},
    )
    wrapped = get_peft_model(model, config)
    renamed = {
        name: parameters[id(p)]
        for name, p in wrapped.named_parameters()
        if id(p) in parameters
    }
    # peft's own names of the adapters, found by giving each a value of its own.
    trained = [(n, p) for n, p in wrapped.named_parameters() if p.requires_grad]
    with torch.no_grad():
        for number, (_, parameter) in enumerate(trained):
            parameter.fill_(number)
    saved = get_peft_model_state_dict(wrapped)
    for number, (name, _) in enumerate(trained):
        (renamed[name],) = [n for n, v in saved.items() if v.flatten()[0] == number]
    torch.manual_seed(2)
    with torch.no_grad():
        for _, parameter in trained:
            parameter.normal_(mean=float(parameter.ndim == 1), std=0.1)
    engine = start(wrapped, config_of(stage, dtype, "none", target))
    step(engine)
    config.save_pretrained(target)
    weights = {
        "tensors": live(engine, renamed),
        "lora": {**config.to_dict(), "target_modules": ["c_attn", "c_proj"]},
    }
    logits = engine(input_ids=IDS).logits.detach()
    save(engine, target, weights, exclude_frozen_parameters=bare)
    if dist.get_rank() == 0:
        torch.save(logits, target.with_name(f"{target.name}-logits.pt"))


class Block(nn.Module):
    """A layer with a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(WIDTH, WIDTH)
        self.register_buffer("scale", torch.full((1,), 0.5))

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return the next hidden state."""
        return hidden + self.scale.to(hidden.dtype) * self.linear(hidden)


def pipeline(target: Path, dtype: str) -> None:
    """Train two stages that share an embedding and save."""

    def tied(**options: Any) -> TiedLayerSpec:
        return TiedLayerSpec("embed", nn.Embedding, VOCABULARY, WIDTH, **options)

    head = tied(forward_fn=lambda layer, hidden: hidden @ layer.weight.T)
    module = PipelineModule(
        [tied(), LayerSpec(Block), LayerSpec(Block), head],
        num_stages=2,
        partition_method="uniform",
        loss_fn=lambda logits, ids: nn.functional.cross_entropy(
            logits.float().flatten(0, 1), ids.flatten()
        ),
    )
    engine = start(module, config_of(1, dtype, "none", target))
    engine.train_batch(data_iter=iter([(IDS, IDS)] * 2))
    parts = ("linear.weight", "linear.bias", "scale")
    layers = {
        "layer_00-model_states.pt": {"weight": "wte.weight"},
        **{
            f"layer_0{i}-model_states.pt": {part: f"h.{i}.{part}" for part in parts}
            for i in (1, 2)
        },
        "layer_03-model_states.pt": {"weight": "lm_head.weight"},
    }
    mine = {}
    for name, tensor in module.state_dict().items():
        index = name.partition(".")[0]
        if index.isdigit():
            local = layers[f"layer_0{index}-model_states.pt"]
            mine[local[name.partition(".")[2]]] = describe(tensor)
    mine["wte.weight"] = describe(module.tied_modules["embed"].weight)
    parts_of_all: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(parts_of_all, mine)
    tensors = {name: t for part in parts_of_all for name, t in part.items()}
    tensors.pop("lm_head.weight", None)
    save(engine, target, {"tensors": tensors, "layers": layers})


def load(base: Path) -> PreTrainedModel:
    """Return the base model in fp32."""
    return AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)


def names_of(model: nn.Module) -> list[str]:
    """Return the parameters' names, tied ones once."""
    return [name for name, _ in model.named_parameters()]


def start(model: nn.Module, config: dict[str, Any]) -> deepspeed.DeepSpeedEngine:
    """Return the engine."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    # Two groups, as the loop has them.
    groups = [
        {"params": [p for p in parameters if p.ndim > 1]},
        {"params": [p for p in parameters if p.ndim <= 1]},
    ]
    optimizer = torch.optim.AdamW([g for g in groups if g["params"]], lr=RATE)
    return deepspeed.initialize(model=model, optimizer=optimizer, config=config)[0]


def step(engine: deepspeed.DeepSpeedEngine) -> None:
    """Take one optimizer step."""
    engine.backward(engine(input_ids=IDS, labels=IDS).loss)
    engine.step()


def live(
    engine: deepspeed.DeepSpeedEngine, renamed: dict[str, str]
) -> dict[str, dict[str, Any]]:
    """Return what the weights are now, under the names given."""
    tensors = {}
    for name, parameter in engine.module.named_parameters():
        sharded = hasattr(parameter, "ds_id")
        with deepspeed.zero.GatheredParameters([parameter], enabled=sharded):
            tensors[renamed[name]] = describe(parameter)
    return tensors


def describe(tensor: torch.Tensor) -> dict[str, Any]:
    """Return dtype, shape and sha256."""
    return {
        "dtype": str(tensor.dtype).removeprefix("torch."),
        "shape": list(tensor.shape),
        "sha256": tensor_sha256(tensor),
    }


def save(
    engine: deepspeed.DeepSpeedEngine,
    target: Path,
    weights: dict[str, Any],
    **options: Any,
) -> None:
    """Write DeepSpeed's files, weights.json and the manifest."""
    # One rank alone: two that remove the same folder fail where the other was faster.
    dist.barrier()
    if dist.get_rank() == 0:
        shutil.rmtree(target, ignore_errors=True)
    dist.barrier()
    engine.save_checkpoint(
        str(target.parent), tag=target.name, save_latest=False, **options
    )
    if dist.get_rank() == 0:
        write_json(target / WEIGHTS, weights)
        CheckpointManifest(
            **{"run": "run", "step": 1, "skipped": 0, "validation_loss": None},
            **{"world_size": dist.get_world_size(), "zero_stage": 0},
            **{"pipeline_stages": 1, "precision": "fp32"},
            files=tuple(hash_some_files(target, 0, 1)),
        ).write(target)
    dist.barrier()
    engine.destroy()


if __name__ == "__main__":
    main()
