"""Measures how long saving a checkpoint holds up training.

    python benchmarks/saving.py

GPT-2 of 124 M parameters, in fp32 on two CPU ranks, saved every second step at ZeRO-2
and ZeRO-3. The stall is what the loop spends on a checkpoint: hashing the live weights,
writing the shards, and, a step or more later, publishing them. Syncing and hashing the
files goes on beside the training; how long that takes is measured apart, afterwards.
Prints Markdown.
"""

import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from machine import describe_machine
from tqdm import tqdm
from training_inputs import NO_DROPOUT, Setup, prepare

from retune.artifacts.publishing import sha256
from retune.artifacts.run_spec import RunSpec
from retune.checkpoints.checkpoint_files import find_checkpoints
from retune.measuring.history import read_history, steps_in
from retune.settings import ConfigureSettings, FinetuneSettings, HardwareSettings
from retune.steps import configure, finetune

SETUP = Setup(
    "gpt2",
    {"n_positions": 128, **NO_DROPOUT},
    sequence_length=128,
    batch={"global_batch_size": 2, "micro_batch_size": 1},
    ranks=2,
    accelerator="cpu",
)
STEPS, EVERY = 8, 2
# The default interval.
SAVE_STEPS = FinetuneSettings.model_fields["save_steps"].default


def main() -> None:
    """Measure and print."""
    print(describe_machine("torch", "deepspeed", "transformers"), "\n")
    print(
        "| | checkpoint | s/step | stall, s | hashing beside it, s"
        f" | stall at save_steps: {SAVE_STEPS} |"
    )
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, SETUP)
        for stage in (2, 3):
            print(measure(folder, stage), flush=True)


def measure(folder: Path, stage: int) -> str:
    """Train a few steps; return a line of the table."""
    plan = folder / f"plan-{stage}"
    configure.run(
        ConfigureSettings(**SETUP.batch, precision="fp32", zero_stage=stage),
        HardwareSettings(accelerator="cpu", ranks_per_node=SETUP.ranks),
        *(folder / "base", folder / "tokens.json", plan),
    )
    state = folder / f"state-{stage}"
    state.mkdir()
    settings = FinetuneSettings(
        max_steps=STEPS, save_steps=EVERY, eval_steps=10**6, learning_rate=1e-4
    )
    run = RunSpec.make(settings, folder / "base", folder / "tokens", plan)
    run.write(state)
    finetune.run_ranks(run, state, tqdm(total=STEPS, disable=True))
    rows = steps_in(read_history(state))[1:]
    step = median(row.seconds for row in rows)
    # Half of them follow a checkpoint, the others its publication.
    stall = sum(row.save_seconds for row in rows) / (len(rows) / EVERY)
    checkpoint = find_checkpoints(state)[-1]
    files = [path for path in checkpoint.rglob("*") if path.is_file()]
    start = time.perf_counter()
    for path in files:
        sha256(path)
    hashing = (time.perf_counter() - start) / SETUP.ranks
    size = sum(path.stat().st_size for path in files) / 1e9
    share = stall / (stall + SAVE_STEPS * step)
    return (
        f"| ZeRO-{stage} | {size:.2f} GB | {step:.2f} | {stall:.2f} | {hashing:.2f} |"
        f" {share:.1%} |"
    )


if __name__ == "__main__":
    sys.exit(main())
