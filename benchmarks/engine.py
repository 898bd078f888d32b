"""Measures how fast our loop trains, beside two usual ways to do the same.

On the same model, text and DeepSpeed config:

- retune: our loop, `retune.training.loop`;
- Trainer: Hugging Face's, on blocks of packed lines, without their boundaries;
- tutorial: a plain DeepSpeed loop, every line padded to 128 tokens, one line per rank
  and pass, gradients of 4 passes accumulated.

    python benchmarks/engine.py [--model cpu] [--rounds 3] [--steps 24]

`cpu` is a small GPT-2 on two CPU ranks; `gpt2` (124 M parameters) and `llama-1b` run in
bf16 on one GPU and tell the model FLOPs utilisation, too. Prints Markdown. The text is
the documentation that ships with Python, a document per line; no network.
"""

import argparse
import json
import os
import platform
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

VOCABULARY = 4096
LINE_TOKENS = range(5, 41)
# The first steps allocate, and on a GPU choose kernels.
DROPPED = 4
PADDED_LENGTH, ACCUMULATION = 128, 4
SEED = 0
RATE = 3e-4


@dataclass(frozen=True)
class Setup:
    """One model and how it is trained.

    Attributes:
        model_type: As transformers names it.
        config: What differs from the family's defaults.
        sequence_length: Tokens of a packed block.
        batch: Settings of `configure`.
        ranks: Number of ranks.
        accelerator: cpu or cuda.
    """

    model_type: str
    config: dict[str, Any]
    sequence_length: int
    batch: dict[str, Any]
    ranks: int = 1
    accelerator: str = "cuda"


NO_DROPOUT = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
SETUPS = {
    "cpu": Setup(
        "gpt2",
        {"vocab_size": VOCABULARY, "n_positions": 512, "n_embd": 256, "n_layer": 6}
        | {"n_head": 4, **NO_DROPOUT},
        sequence_length=512,
        batch={"global_batch_size": 8, "micro_batch_size": 4},
        ranks=2,
        accelerator="cpu",
    ),
    "gpt2": Setup(
        "gpt2",
        NO_DROPOUT,
        sequence_length=1024,
        batch={"global_batch_size": 32, "micro_batch_size": 16},
    ),
    "llama-1b": Setup(
        "llama",
        {"vocab_size": 32000, "hidden_size": 2048, "intermediate_size": 8192}
        | {"num_hidden_layers": 16, "num_attention_heads": 32}
        | {"num_key_value_heads": 8, "max_position_embeddings": 2048},
        sequence_length=2048,
        batch={"global_batch_size": 8, "micro_batch_size": 4},
    ),
}


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

        from retune.training.speed import peak_memory_gb

        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.starts.append(time.perf_counter())
        self.cpu.append(time.process_time())
        self.peak_memory_gb = peak_memory_gb()


def prepare(folder: Path, setup: Setup) -> None:
    """Write base model, lines, tokens and plan."""
    import polars as pl
    import torch
    from tokenizers import ByteLevelBPETokenizer
    from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

    from retune import configure, tokenize
    from retune.publishing import write_manifest
    from retune.settings import ConfigureSettings, HardwareSettings, TokenizeSettings
    from retune.sources.builtin_corpus import read_corpus
    from retune.sources.model_facts import read_model_facts

    texts = read_corpus()["text"]
    lines = [line.strip() for text in texts for line in text.splitlines()]
    lines = sorted({line for line in lines if line})
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(lines, VOCABULARY, special_tokens=["<|end|>"])
    PreTrainedTokenizerFast(
        tokenizer_object=bpe._tokenizer, bos_token="<|end|>", eos_token="<|end|>"
    ).save_pretrained(folder / "base")
    config = AutoConfig.for_model(
        setup.model_type, bos_token_id=0, eos_token_id=0, **setup.config
    )
    torch.manual_seed(SEED)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder / "base")
    write_manifest(folder / "base", facts=read_model_facts(folder / "base"))

    encoded = bpe._tokenizer.encode_batch(lines)
    pairs = zip(lines, encoded, strict=True)
    lines = [line for line, tokens in pairs if len(tokens.ids) in LINE_TOKENS]
    frame = pl.DataFrame({"id": lines, "group": lines, "text": lines})
    frame = frame.sample(fraction=1, shuffle=True, seed=SEED)
    (folder / "clean").mkdir()
    held_out = 200 * setup.sequence_length // 512
    parts = {
        "train": frame[2 * held_out :],
        "validation": frame[:held_out],
        "test": frame[held_out : 2 * held_out],
    }
    for split, part in parts.items():
        part.write_parquet(folder / f"clean/{split}.parquet")
    tokenize.run(
        TokenizeSettings(sequence_length=setup.sequence_length),
        *(folder / "clean", folder / "base", folder / "tokens"),
        folder / "tokens.json",
    )
    precision = "fp32" if setup.accelerator == "cpu" else "bf16"
    configure.run(
        ConfigureSettings(**setup.batch, precision=precision, zero_stage=1),
        HardwareSettings(accelerator=setup.accelerator, gpus_per_node=setup.ranks),
        *(folder / "base", folder / "tokens.json", folder / "plan"),
    )


def run_retune(folder: Path, work: Path, steps: int) -> Run:
    """Train with our loop."""
    from retune.settings import FinetuneSettings
    from retune.training.heartbeat import Heartbeat
    from retune.training.history import read_history
    from retune.training.loop import train
    from retune.training.stopping import StopRequest

    run = Run()

    class Clock(Heartbeat):
        """Notes the first beat of each step."""

        def beat(self, step: int, phase: str) -> None:
            if phase == "training" and step > len(run.starts):
                run.begin_step()
            super().beat(step, phase)

    rank = int(os.environ["RANK"])
    settings = FinetuneSettings(
        epochs=1000,
        max_steps=steps,
        learning_rate=RATE,
        eval_steps=steps,
        save_steps=steps,
        seed=SEED,
    )
    inputs = (folder / name for name in ("base", "tokens", "plan"))
    train(settings, *inputs, work, StopRequest(), Clock(work, rank))
    records = [r for r in read_history(work) if "num_tokens" in r]
    # Its counts are those of all ranks.
    run.tokens = [r["num_tokens"] if rank == 0 else 0 for r in records]
    run.useful = [r["num_labels"] if rank == 0 else 0 for r in records]
    return run


def run_trainer(folder: Path, work: Path, steps: int) -> Run:
    """Train with Hugging Face's Trainer."""
    import numpy as np
    import torch
    from datasets import Dataset
    from transformers import (
        AutoModelForCausalLM,
        Trainer,
        TrainerCallback,
        TrainingArguments,
        default_data_collator,
    )

    from retune.publishing import read_json
    from retune.training.packing import PackedBlocks

    run = Run()

    class Clock(TrainerCallback):
        """Notes the beginning of each step."""

        def on_step_begin(self, *arguments: Any, **values: Any) -> None:
            run.begin_step()

    plan = read_json(folder / "plan/plan.json")
    is_bf16 = plan["precision"] == "bf16"
    arguments = TrainingArguments(
        output_dir=str(work),
        deepspeed=read_json(folder / "plan/deepspeed.json"),
        per_device_train_batch_size=plan["micro_batch_size"],
        gradient_accumulation_steps=plan["gradient_accumulation_steps"],
        max_grad_norm=plan["gradient_clipping"],
        max_steps=steps,
        learning_rate=RATE,
        bf16=is_bf16,
        use_cpu=not torch.cuda.is_available(),
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
        seed=SEED,
    )
    blocks = PackedBlocks(folder / "tokens", "train")
    rows = blocks.batch(np.arange(len(blocks))).input_ids
    dataset = Dataset.from_dict({"input_ids": rows, "labels": rows})
    model = AutoModelForCausalLM.from_pretrained(folder / "base", dtype=torch.float32)
    Trainer(
        model=model,
        args=arguments,
        train_dataset=dataset,
        data_collator=default_data_collator,
        callbacks=[Clock()],
    ).train()
    share = plan["global_batch_size"] // plan["world_size"]
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

    from retune.publishing import read_json

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


WAYS = {"retune": run_retune, "Trainer": run_trainer, "tutorial": run_tutorial}


def be_rank(way: str, folder: Path, work: Path, steps: int) -> None:
    """Be one rank; leave what it saw in `work`."""
    import deepspeed

    # On a CPU DeepSpeed would compile its shared-memory collectives first.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    run = WAYS[way](folder, work, steps)
    (work / f"run-{os.environ['RANK']}.json").write_text(json.dumps(vars(run)))


def measure(way: str, folder: Path, setup: Setup, steps: int) -> dict[str, float]:
    """Train once, in new processes; return the figures of all ranks together."""
    from retune.training.launch import started

    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        work = Path(scratch)
        command = [sys.executable, __file__, "--rank-of", way, "--steps", str(steps)]
        command += ["--folder", str(folder), "--work", scratch]
        with started(command, setup.accelerator, setup.ranks) as ranks:
            codes = [process.wait() for process in ranks.values()]
        if any(codes):
            raise RuntimeError(f"{way}: a rank failed, see above")
        runs = [
            Run(**json.loads((work / f"run-{rank}.json").read_text()))
            for rank in range(setup.ranks)
        ]
    kept = slice(DROPPED, steps - 1)
    starts = runs[0].starts
    seconds = starts[-1] - starts[DROPPED]
    cpu_seconds = sum(run.cpu[-1] - run.cpu[DROPPED] for run in runs)
    tokens = sum(sum(run.tokens[kept]) for run in runs)
    useful = sum(sum(run.useful[kept]) for run in runs)
    return {
        "tokens/s": tokens / seconds,
        "useful tokens/s": useful / seconds,
        "tokens/CPU s": tokens / cpu_seconds,
        "useful tokens/CPU s": useful / cpu_seconds,
        "s/step": seconds / (steps - 1 - DROPPED),
        "GB/rank": max(run.peak_memory_gb for run in runs),
    }


def peak_of_device() -> tuple[str, float | None]:
    """Return the GPU's name and its FLOP/s in bf16."""
    import torch

    from retune.training.speed import peak_flops

    name = torch.cuda.get_device_name()
    return name, peak_flops(name, "bf16")


def flops_per_token(folder: Path, setup: Setup) -> float | None:
    """Return the model's FLOPs per token of a packed block."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from retune.training.speed import model_flops_per_token, multiplying_weights

    config = AutoConfig.from_pretrained(folder / "base")
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    weights = multiplying_weights(model)
    return model_flops_per_token(config, *weights, setup.sequence_length)


def table(rows: dict[str, list[dict[str, float]]]) -> Iterator[str]:
    """Yield the lines of a Markdown table: median (min-max) of each column."""
    columns = list(max((runs[0] for runs in rows.values()), key=len))
    yield f"| | {' | '.join(columns)} |"
    yield "| --- |" + " ---: |" * len(columns)
    for way, figures in rows.items():
        cells = (
            spread([figure[column] for figure in figures if column in figure])
            for column in columns
        )
        yield f"| {way} | {' | '.join(cells)} |"


def spread(values: list[float]) -> str:
    """Return "median (min-max)", nothing of nothing."""
    if not values:
        return ""
    low, middle, high = (
        f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
        for value in (min(values), median(values), max(values))
    )
    return f"{middle} ({low}-{high})"


def describe_machine() -> str:
    """Return one line: processor, memory, kernel and versions."""
    models = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    packages = ("torch", "deepspeed", "transformers")
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    return (
        f"{len(models)} cores ({models[0]}), {memory:.0f} GiB, Linux"
        f" {platform.release()}, Python {platform.python_version()}, {versions}"
    )


def main() -> None:
    """Measure all ways in turn, as often as asked, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", choices=SETUPS, default="cpu")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of all ways")
    parser.add_argument("--steps", type=int, default=24, help="optimizer steps of each")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    for name, kind in (("rank-of", str), ("folder", Path), ("work", Path)):
        parser.add_argument(f"--{name}", type=kind, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.steps < DROPPED + 2:
        parser.error(f"--steps: {options.steps}, at least {DROPPED + 2}")
    if options.rank_of:
        be_rank(options.rank_of, options.folder, options.work, options.steps)
        return
    # Ended from outside, it ends the ranks as after Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    setup = SETUPS[options.model]
    rows: dict[str, list[dict[str, float]]] = {way: [] for way in options.ways}
    with tempfile.TemporaryDirectory(prefix="engine-") as scratch:
        folder = Path(scratch)
        prepare(folder, setup)
        for number in range(options.rounds):
            for way, figures in rows.items():
                print(f"round {number + 1}: {way}", file=sys.stderr)
                figures.append(measure(way, folder, setup, options.steps))
        flops = flops_per_token(folder, setup)
    print(describe_machine())
    if setup.accelerator == "cuda":
        device, peak = peak_of_device()
        print(f"{device}, bf16")
        # The tutorial's tokens are mostly padding, whose FLOPs are of no use.
        for way in rows.keys() - {"tutorial"} if flops and peak else ():
            for figure in rows[way]:
                figure["MFU %"] = 100 * flops * figure["tokens/s"] / peak
    print(f"\n`{options.model}`, {options.rounds} rounds of {options.steps} steps:\n")
    print("\n".join(table(rows)))


if __name__ == "__main__":
    main()
