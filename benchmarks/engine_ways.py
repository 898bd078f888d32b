"""The ways to train that `engine.py` compares, each as one rank sees it."""

import json
import os
import time
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from training_inputs import SEED

PADDED_LENGTH, ACCUMULATION = 128, 4
RATE = 3e-4


@dataclass
class Run:
    """What one rank saw; a list's item is a step.

    Attributes:
        starts: Seconds.
        cpu: CPU seconds of this rank until then.
        tokens: Tokens that this rank computed, padding included.
        useful: Those that are predicted from their own document.
        peak_memory_gb: Of this rank, before the last step.
    """

    starts: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    useful: list[float] = field(default_factory=list)
    peak_memory_gb: float = 0.0

    def begin_step(self) -> None:
        """Note that a step begins, once the device is done with the last."""
        import torch

        from retune.measuring.device_memory import peak_memory_gb

        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.starts.append(time.perf_counter())
        self.cpu.append(time.process_time())
        self.peak_memory_gb = peak_memory_gb()


class MeasuredError(Exception):
    """Ends a training once all is measured, before it saves what nobody wants."""


def run_retune(
    folder: Path,
    work: Path,
    steps: int,
    lora: dict[str, Any] | None = None,
    profile: bool = False,
    **of_plan: Any,
) -> Run:
    """Train with our loop; `of_plan` are values of the plan that are changed."""
    from retune.artifacts.run_spec import RunSpec
    from retune.measuring.history import read_history, steps_in
    from retune.settings import FinetuneSettings
    from retune.supervision.heartbeat import Heartbeat
    from retune.supervision.stopping import StopRequest
    from retune.training.loop import train

    run = Run()

    class Clock(Heartbeat):
        """Notes the first beat of each step; the last step is not taken."""

        def beat(self, step: int, phase: str) -> None:
            if phase == "training" and step > len(run.starts):
                run.begin_step()
                if step == steps:
                    raise MeasuredError
            super().beat(step, phase)

    rank = int(os.environ["RANK"])
    settings = FinetuneSettings(
        epochs=1000,
        max_steps=steps,
        learning_rate=RATE,
        eval_steps=steps,
        save_steps=steps,
        seed=SEED,
        lora=lora,
        profile=profile,
    )
    inputs = (folder / name for name in ("base", "tokens", "plan"))
    training = RunSpec.make(settings, *inputs)
    plan = training.plan.model_copy(update=of_plan)
    training = training.model_copy(update={"plan": plan})
    with suppress(MeasuredError):
        train(training, work, StopRequest(), Clock(work, rank))
    rows = steps_in(read_history(work))
    # Its counts are those of all ranks.
    run.tokens = [row.num_tokens if rank == 0 else 0 for row in rows]
    run.useful = [row.num_labels if rank == 0 else 0 for row in rows]
    return run


def run_unfused(folder: Path, work: Path, steps: int) -> Run:
    """Train with our loop, and with Transformers' activation functions."""
    from retune.models import loading

    loading.fuse_activations = lambda model: None
    return run_retune(folder, work, steps)


def run_trainer(
    folder: Path,
    work: Path,
    steps: int,
    lora: dict[str, Any] | None = None,
    use_liger_kernel: bool = False,
) -> Run:
    """Train with Hugging Face's Trainer, if asked with Liger's kernels."""
    import numpy as np
    import torch
    from transformers import (
        AutoModelForCausalLM,
        BitsAndBytesConfig,
        Trainer,
        TrainerCallback,
        TrainingArguments,
        default_data_collator,
    )

    from retune.artifacts.plan import PLAN, Plan
    from retune.artifacts.publishing import read_json
    from retune.tokens.blocks import PackedBlocks

    run = Run()

    class Clock(TrainerCallback):
        """Notes the beginning of each step."""

        def on_step_begin(self, *arguments: Any, **values: Any) -> None:
            run.begin_step()

    plan = Plan.read(folder / "plan" / PLAN)
    arguments = TrainingArguments(
        output_dir=str(work),
        deepspeed=read_json(folder / "plan/deepspeed.json"),
        per_device_train_batch_size=plan.micro_batch_size,
        gradient_accumulation_steps=plan.gradient_accumulation_steps,
        max_grad_norm=plan.gradient_clipping,
        max_steps=steps,
        learning_rate=RATE,
        bf16=plan.precision == "bf16",
        gradient_checkpointing=bool(plan.activation_checkpointing),
        use_liger_kernel=use_liger_kernel,
        use_cpu=not torch.cuda.is_available(),
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
        seed=SEED,
    )
    blocks = PackedBlocks(folder / "tokens", "train")
    rows = torch.as_tensor(blocks.batch(np.arange(len(blocks))).input_ids)
    options = {"target_modules": "all-linear", "task_type": "CAUSAL_LM", **(lora or {})}
    quantization = {}
    if options.pop("load_in_4bit", False):
        quantization["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_compute_dtype=torch.bfloat16 if arguments.bf16 else torch.float32,
        )
    model = AutoModelForCausalLM.from_pretrained(
        folder / "base",
        dtype=torch.float32,
        attn_implementation="sdpa",
        **quantization,
    )
    if lora:
        from peft import LoraConfig, get_peft_model

        model = get_peft_model(model, LoraConfig(**options))
        if arguments.gradient_checkpointing:
            model.enable_input_require_grads()
    Trainer(
        model=model,
        args=arguments,
        train_dataset=[{"input_ids": row, "labels": row} for row in rows],
        data_collator=default_data_collator,
        callbacks=[Clock()],
    ).train()
    share = plan.global_batch_size // plan.world_size
    run.tokens = [share * blocks.sequence_length] * steps
    # It also predicts each document's first token from the one before.
    labels = blocks.num_labels(np.arange(len(blocks))) / len(blocks)
    run.useful = [share * labels] * steps
    return run


def run_tutorial(folder: Path, work: Path, steps: int) -> Run:
    """Train with the plain loop."""
    import deepspeed
    import polars as pl
    import torch
    from torch.utils.data import DataLoader, Dataset, DistributedSampler
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from retune.artifacts.publishing import read_json

    deepspeed.init_distributed()
    world_size = torch.distributed.get_world_size()
    tokenizer = AutoTokenizer.from_pretrained(folder / "base")
    tokenizer.pad_token = tokenizer.eos_token

    class Lines(Dataset):
        """A padded line per item."""

        def __init__(self) -> None:
            self.texts = pl.read_parquet(folder / "clean/train.parquet")["text"]

        def __len__(self) -> int:
            return len(self.texts)

        def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
            line = tokenizer(
                self.texts[index],
                truncation=True,
                padding="max_length",
                max_length=PADDED_LENGTH,
                return_tensors="pt",
            )
            tokens = line["input_ids"][0]
            mask = line["attention_mask"][0]
            return {"input_ids": tokens, "attention_mask": mask, "labels": tokens}

    lines = Lines()
    loader = DataLoader(lines, batch_size=1, sampler=DistributedSampler(lines))
    model = AutoModelForCausalLM.from_pretrained(folder / "base", dtype=torch.float32)
    config = read_json(folder / "plan/deepspeed.json") | {
        "train_batch_size": ACCUMULATION * world_size,
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": ACCUMULATION,
    }
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE)
    engine, *_ = deepspeed.initialize(model=model, optimizer=optimizer, config=config)
    run = Run()
    for number, batch in enumerate(loader):
        if number == steps * ACCUMULATION:
            break
        if number % ACCUMULATION == 0:
            run.begin_step()
            run.tokens.append(0)
            run.useful.append(0)
        on_device = {name: part.to(engine.device) for name, part in batch.items()}
        engine.backward(engine(**on_device).loss)
        engine.step()
        run.tokens[-1] += batch["input_ids"].numel()
        run.useful[-1] += int(batch["attention_mask"].sum()) - 1
    return run


def figures_of(runs: list[Run], dropped: int) -> dict[str, float]:
    """Return the figures of all ranks together.

    Args:
        runs: What each rank saw.
        dropped: Number of steps at the beginning that are not counted.
    """
    starts = runs[0].starts
    kept = slice(dropped, len(starts) - 1)
    seconds = starts[-1] - starts[dropped]
    cpu_seconds = sum(run.cpu[-1] - run.cpu[dropped] for run in runs)
    tokens = sum(sum(run.tokens[kept]) for run in runs)
    useful = sum(sum(run.useful[kept]) for run in runs)
    return {
        "tokens/s": tokens / seconds,
        "useful tokens/s": useful / seconds,
        "tokens/CPU s": tokens / cpu_seconds,
        "useful tokens/CPU s": useful / cpu_seconds,
        "s/step": seconds / (len(starts) - 1 - dropped),
        "GB/rank": max(run.peak_memory_gb for run in runs),
    }


SDPA = {"attn_implementation": "sdpa"}
WHOLE_LOGITS = {"chunked_cross_entropy": False}
WAYS = {
    "retune": run_retune,
    "sdpa": partial(run_retune, **SDPA),
    "whole-logits": partial(run_retune, **WHOLE_LOGITS),
    "both": partial(run_retune, **SDPA, **WHOLE_LOGITS),
    "unfused": run_unfused,
    "Trainer": run_trainer,
    "tutorial": run_tutorial,
}


def be_rank(way: str, folder: Path, work: Path, steps: int) -> None:
    """Be one rank; leave what it saw in `work`."""
    import deepspeed

    # On a CPU DeepSpeed would compile its shared-memory collectives first.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    run = WAYS[way](folder, work, steps)
    (work / f"run-{os.environ['RANK']}.json").write_text(json.dumps(vars(run)))
