"""The training loop: what each rank runs, from top to bottom.

The `finetune` step starts it through the DeepSpeed launcher, once per rank, as
`python -m retune.training.loop --settings JSON --base PATH --tokens PATH ...`.
"""

import argparse
import logging
import math
import os
import sys
import threading
import time
import traceback
from functools import partial
from pathlib import Path
from typing import Any

import deepspeed
import deepspeed.comm as dist
import torch
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.integrations import HfDeepSpeedConfig

from retune.errors import RetuneError
from retune.finetune import STEP_PID
from retune.publishing import read_json, write_json
from retune.settings import FinetuneSettings
from retune.training.checkpoints import Checkpoints, weight_hashes
from retune.training.history import History
from retune.training.packing import (
    IGNORE_INDEX,
    Batch,
    PackedBlocks,
    blocks_of_step,
    share_of_rank,
)
from retune.training.schedules import learning_rate, num_steps

log = logging.getLogger("retune")

# A larger difference, as a share of the largest logit, is no rounding error in bf16.
LEAK = 1e-2


def train(
    settings: FinetuneSettings, base: Path, tokens: Path, plan_folder: Path, state: Path
) -> None:
    """Train until the last step; leave a checkpoint and a history under `state`."""
    plan = read_json(plan_folder / "plan.json")
    config = read_json(plan_folder / "deepspeed.json")
    start_process_group(plan)
    torch.manual_seed(settings.seed + dist.get_rank())

    model = load_model(base, plan, config)
    engine, *_ = deepspeed.initialize(
        model=model, optimizer=build_optimizer(model, settings, plan), config=config
    )
    check_isolation(engine)
    training = PackedBlocks(tokens, "train")
    validation = PackedBlocks(tokens, "validation")
    batch_size = plan["global_batch_size"]
    total = num_steps(settings, len(training), batch_size)

    checkpoints = Checkpoints(state, settings.save_total_limit)
    first = checkpoints.resume(engine)
    history = History(state, first, dist.get_rank())
    log.info("%d steps of %d sequences, from step %d", total, batch_size, first)
    if first == 0:
        history.write(step=0, validation_loss=validation_loss(engine, validation))

    for step in range(first, total):
        start = time.monotonic()
        rate = learning_rate(settings, step, total)
        blocks = blocks_of_step(step, batch_size, len(training), settings.seed)
        num_labels = training.num_labels(blocks)
        loss = training_step(engine, training, blocks, num_labels, rate)
        done = step + 1
        record: dict[str, Any] = {
            "step": done,
            "epoch": round(done * batch_size / len(training), 4),
            "train_loss": loss,
            "learning_rate": rate,
            "grad_norm": gradient_norm(engine),
            "num_labels": num_labels,
            "seconds": time.monotonic() - start,
        }
        last = done == total
        if last or done % settings.eval_steps == 0:
            record["validation_loss"] = validation_loss(engine, validation)
            log.info(
                "step %d of %d: training loss %.3f, validation loss %.3f",
                *(done, total, loss, record["validation_loss"]),
            )
        history.write(**record)
        if last or done % settings.save_steps == 0:
            history.sync()
            weights = weight_hashes(engine) if last else None
            checkpoints.save(engine, done, weights)


def training_step(
    engine: deepspeed.DeepSpeedEngine,
    data: PackedBlocks,
    blocks: Any,
    num_labels: int,
    rate: float,
) -> float:
    """Take one optimizer step; return the mean loss per predicted token, nats.

    The loss is the sum over all predicted tokens of the global batch divided by their
    number. DeepSpeed averages over ranks and accumulation steps, so each part is
    scaled up by both: every token weighs the same, however unevenly they are spread.
    """
    world_size = dist.get_world_size()
    mine = share_of_rank(
        blocks, dist.get_rank(), world_size, engine.train_micro_batch_size_per_gpu()
    )
    scale = world_size * len(mine) / num_labels
    total = torch.zeros((), device=engine.device)
    for group in engine.optimizer.param_groups:
        group["lr"] = rate
    for micro_batch in mine:
        loss_sum = loss_of(engine, data.batch(micro_batch))
        engine.backward(loss_sum * scale)
        engine.step()
        total += loss_sum.detach()
    dist.all_reduce(total)
    loss = total.item() / num_labels
    where = f"step {engine.global_steps}, blocks {', '.join(map(str, blocks[:8]))}"
    return finite(loss, f"the loss is {loss} in {where}")


def finite(loss: float, what: str) -> float:
    """Return a loss; raise RetuneError if it is no number."""
    if not math.isfinite(loss):
        raise RetuneError(f"{what}: lower finetune.learning_rate, or look at that data")
    return loss


def gradient_norm(engine: deepspeed.DeepSpeedEngine) -> float | None:
    """Return the norm before clipping; DeepSpeed does not tell it at stage 0."""
    norm = engine.get_global_grad_norm()
    return None if norm is None else float(norm)


@torch.no_grad()
def validation_loss(engine: deepspeed.DeepSpeedEngine, data: PackedBlocks) -> float:
    """Return the mean loss per predicted token of all validation blocks, nats.

    Every rank makes the same number of forward passes, as ZeRO-3 needs; the places
    that are left over predict nothing.
    """
    engine.eval()
    world_size, rank = dist.get_world_size(), dist.get_rank()
    micro = engine.train_micro_batch_size_per_gpu()
    sums = torch.zeros(2, dtype=torch.float64, device=engine.device)
    for start in range(0, len(data), world_size * micro):
        places = range(start + rank * micro, start + (rank + 1) * micro)
        batch = data.batch([place % len(data) for place in places])
        for row, place in enumerate(places):
            if place >= len(data):
                batch.labels[row] = IGNORE_INDEX
        sums[0] += loss_of(engine, batch)
        sums[1] += int((batch.labels != IGNORE_INDEX).sum())
    dist.all_reduce(sums)
    engine.train()
    loss = (sums[0] / sums[1]).item()
    return finite(
        loss, f"the validation loss is {loss} after step {engine.global_steps}"
    )


def loss_of(engine: deepspeed.DeepSpeedEngine, batch: Batch) -> torch.Tensor:
    """Return the sum of the losses of a batch's predicted tokens, nats, scalar fp32."""
    input_ids = torch.from_numpy(batch.input_ids).to(engine.device)
    position_ids = torch.from_numpy(batch.position_ids).to(engine.device)
    labels = torch.from_numpy(batch.labels).to(engine.device)
    # No attention mask and no cache: only then does transformers read document
    # boundaries off position_ids.
    logits = engine(
        input_ids=input_ids, position_ids=position_ids, use_cache=False
    ).logits
    return cross_entropy(
        logits.float().flatten(0, 1),
        labels.flatten(),
        ignore_index=IGNORE_INDEX,
        reduction="sum",
    )


def load_model(
    base: Path, plan: dict[str, Any], config: dict[str, Any]
) -> PreTrainedModel:
    """Return the base model, in training mode; under ZeRO-3 already sharded."""
    # While this object lives, from_pretrained loads straight into ZeRO-3 shards.
    sharding = HfDeepSpeedConfig(config) if plan["zero_stage"] == 3 else None
    load = partial(
        AutoModelForCausalLM.from_pretrained,
        base,
        dtype=torch.float32,
        use_safetensors=True,
        trust_remote_code=False,
        local_files_only=True,
    )
    try:
        model = load(attn_implementation="sdpa")
    except ValueError as error:
        if "scaled_dot_product_attention" not in str(error):
            raise
        log.warning("this model has no sdpa attention: using eager, which is slower")
        model = load(attn_implementation="eager")
    del sharding
    if plan["activation_checkpointing"]:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    return model.train()


@torch.no_grad()
def check_isolation(engine: deepspeed.DeepSpeedEngine) -> None:
    """Raise RetuneError if the model lets packed documents see each other.

    Some families ignore the mask that follows from position_ids. Two sequences that
    differ only in their first document must give the second the same logits.
    """
    engine.eval()
    second = torch.arange(10, 14)
    sequences = [torch.cat([first, second]) for first in (second - 4, second + 4)]
    positions = torch.arange(4).repeat(2, 2)
    logits = engine(
        input_ids=torch.stack(sequences).to(engine.device),
        position_ids=positions.to(engine.device),
        use_cache=False,
    ).logits[:, 4:]
    engine.train()
    difference = (logits[0] - logits[1]).abs().max()
    if difference > LEAK * logits.abs().max():
        raise RetuneError(
            f"model: {engine.module.config.model_type} models let packed documents see"
            " each other in transformers; choose a model of another family"
        )


def build_optimizer(
    model: PreTrainedModel, settings: FinetuneSettings, plan: dict[str, Any]
) -> torch.optim.Optimizer:
    """Return AdamW; weight decay on matrices only.

    A client optimizer: the one DeepSpeed would make from its config compiles C++ at
    the first start. Only offloading needs DeepSpeed's own.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    # Under ZeRO-3 a shard has lost its shape; ds_shape remembers it.
    matrices = [p for p in parameters if len(getattr(p, "ds_shape", p.shape)) > 1]
    others = [p for p in parameters if len(getattr(p, "ds_shape", p.shape)) <= 1]
    groups = [
        {"params": matrices, "weight_decay": settings.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    options = {
        "lr": settings.learning_rate,
        "betas": (settings.adam_beta1, settings.adam_beta2),
        "eps": settings.adam_epsilon,
    }
    groups = [group for group in groups if group["params"]]
    if plan["offload_optimizer"] == "cpu":
        return deepspeed.ops.adam.DeepSpeedCPUAdam(groups, **options)
    return torch.optim.AdamW(groups, **options)


def start_process_group(plan: dict[str, Any]) -> None:
    """Join the other ranks."""
    # On a CPU DeepSpeed would compile its shared-memory collectives now, for minutes;
    # gloo does without.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    if plan["hardware"]["accelerator"] == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    deepspeed.init_distributed()


def main() -> int:
    """Run one rank; on an error leave what went wrong for the launching step."""
    parser = argparse.ArgumentParser(prog="python -m retune.training.loop")
    parser.add_argument(
        "--settings", type=FinetuneSettings.model_validate_json, required=True
    )
    for name in ("base", "tokens", "plan", "state"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    options = parser.parse_args()
    rank = int(os.environ["RANK"])
    logging.basicConfig(
        level=logging.INFO if rank == 0 else logging.WARNING,
        format=f"%(asctime)s rank {rank} %(levelname)s %(message)s",
        datefmt="%H:%M:%S",
    )
    threading.Thread(target=end_with_the_step, daemon=True).start()
    try:
        train(
            options.settings, options.base, options.tokens, options.plan, options.state
        )
    except Exception as error:
        traceback.print_exc()
        write_json(
            options.state / f"failure-rank{rank}.json",
            {
                "time": time.time(),
                "rank": rank,
                "mendable": isinstance(error, RetuneError),
                "error": f"{error}"
                if isinstance(error, RetuneError)
                else f"{type(error).__name__}: {error}",
            },
        )
        # Other ranks may wait for this one in a collective: leave without goodbye.
        sys.stderr.flush()
        os._exit(1)
    dist.destroy_process_group()
    return 0


def end_with_the_step() -> None:
    """End this rank when the step that started it is gone, however it ended."""
    step = os.environ.get(STEP_PID)
    while step and Path(f"/proc/{step}").exists():
        time.sleep(1)
    if step:
        os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
