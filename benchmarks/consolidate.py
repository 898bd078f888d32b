"""Measure ways from a DeepSpeed checkpoint to one model: seconds and memory.

    python benchmarks/consolidate.py --repeat 3 --folder FOLDER

Two ranks train a random model of the shape of GPT-2 (124M) for one step and save it,
each strategy in turn; then every way runs in a new process, in turn, as often as asked.
"""

import argparse
import importlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

LIBRARY = Path(__file__).resolve().parents[1] / "workflow"
MB = 1e6
STRATEGIES = {
    "zero3-bf16": (3, "bf16"),
    "zero2-bf16": (2, "bf16"),
    "zero3-fp32": (3, "fp32"),
}
SHARD_GB = 5.0
SEQUENCE = 64
# Characters of an error in a table.
ERROR_LENGTH = 80
# How often memory is looked at, seconds.
INTERVAL = 0.002


def train(folder: Path, strategy: str, rounds: int) -> None:
    """Run one rank: train a step, save, and time what only the ranks can do."""
    import deepspeed
    import deepspeed.comm as dist
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from retune.artifacts.publishing import write_json, write_manifest
    from retune.models.tensor_hashes import tensor_sha256

    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    deepspeed.init_distributed(verbose=False)
    stage, precision = STRATEGIES[strategy]
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(
        AutoConfig.from_pretrained(folder / "base")
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    config = {
        "train_micro_batch_size_per_gpu": 1,
        "zero_optimization": {
            "stage": stage,
            "stage3_gather_16bit_weights_on_model_save": True,
        },
        "zero_allow_untested_optimizer": True,
        "bf16": {"enabled": precision == "bf16"},
    }
    engine, *_ = deepspeed.initialize(model=model, optimizer=optimizer, config=config)
    ids = torch.arange(SEQUENCE)[None]
    engine.backward(engine(input_ids=ids, labels=ids).loss)
    engine.step()
    engine.save_checkpoint(str(folder), tag=strategy, save_latest=False)
    tensors = {}
    for name, parameter in engine.module.named_parameters():
        sharded = hasattr(parameter, "ds_id")
        with deepspeed.zero.GatheredParameters([parameter], enabled=sharded):
            tensors[name] = {
                "dtype": str(parameter.dtype).removeprefix("torch."),
                "shape": list(parameter.shape),
                "sha256": tensor_sha256(parameter),
            }
    if dist.get_rank() == 0:
        write_json(folder / strategy / "weights.json", {"tensors": tensors})
        write_manifest(folder / strategy)
    dist.barrier()
    if precision == "bf16":
        save = partial(engine.save_16bit_model, str(folder / "16bit"))
        measured = [watch(save) for _ in range(rounds)]
        if dist.get_rank() == 0:
            write_json(folder / f"{strategy}-16bit.json", measured)
    dist.destroy_process_group()


def consolidate(folder: Path, strategy: str, target: Path) -> Callable[[], Any]:
    """Return what `python -m retune consolidate` does."""
    from retune.settings import ConsolidateSettings
    from retune.steps import consolidate

    settings = ConsolidateSettings(max_shard_size_gb=SHARD_GB)
    return lambda: consolidate.run(settings, folder / "base", folder / strategy, target)


def convert(folder: Path, strategy: str, target: Path) -> Callable[[], Any]:
    """Return what DeepSpeed's zero_to_fp32.py does, to files of torch.save."""
    zero_to_fp32 = importlib.import_module("deepspeed.utils.zero_to_fp32")

    return lambda: zero_to_fp32.convert_zero_checkpoint_to_fp32_state_dict(
        str(folder), str(target), max_shard_size=f"{SHARD_GB:g}GB", tag=strategy
    )


def convert_safely(folder: Path, strategy: str, target: Path) -> Callable[[], Any]:
    """Return the same to safetensors."""
    zero_to_fp32 = importlib.import_module("deepspeed.utils.zero_to_fp32")

    return lambda: zero_to_fp32.convert_zero_checkpoint_to_fp32_state_dict(
        *(str(folder), str(target), f"{SHARD_GB:g}GB"),
        safe_serialization=True,
        tag=strategy,
    )


def load_and_save(folder: Path, strategy: str, target: Path) -> Callable[[], Any]:
    """Return the way of DeepSpeed's and transformers' manuals."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    zero_to_fp32 = importlib.import_module("deepspeed.utils.zero_to_fp32")

    def run() -> None:
        state = zero_to_fp32.get_fp32_state_dict_from_zero_checkpoint(
            str(folder), tag=strategy
        )
        config = AutoConfig.from_pretrained(folder / "base")
        model = AutoModelForCausalLM.from_config(config)
        model.load_state_dict(state)
        if STRATEGIES[strategy][1] == "bf16":
            model = model.to(torch.bfloat16)
        model.save_pretrained(target, max_shard_size=f"{SHARD_GB:g}GB")

    return run


WAYS: dict[str, Callable[[Path, str, Path], Callable[[], Any]]] = {
    "retune consolidate": consolidate,
    "zero_to_fp32, .bin": convert,
    "zero_to_fp32, safetensors": convert_safely,
    "get_fp32_state_dict + save_pretrained": load_and_save,
}
IN_RANKS = "save_16bit_model, in the ranks"


def watch(work: Callable[[], Any]) -> dict[str, float]:
    """Return the seconds of some work, on the clock and of CPU, and its memory, MB.

    Anonymous memory is what the process holds; pages of mapped files are the page
    cache's, which the kernel takes back when it needs them. Each as the highest seen
    less what was there before: the interpreter and torch.
    """
    peak = before = memory()
    done = threading.Event()

    def look() -> None:
        nonlocal peak
        while not done.wait(INTERVAL):
            peak = {key: max(peak[key], value) for key, value in memory().items()}

    watcher = threading.Thread(target=look)
    watcher.start()
    start, cpu_start = time.perf_counter(), time.process_time()
    try:
        work()
    finally:
        seconds = time.perf_counter() - start
        cpu = time.process_time() - cpu_start
        done.set()
        watcher.join()
    high = memory()["VmHWM"]
    return {
        "seconds": seconds,
        "cpu": cpu,
        "VmHWM": high,
        "anonymous": peak["RssAnon"] - before["RssAnon"],
        "mapped": peak["RssFile"] - before["RssFile"],
    }


def memory() -> dict[str, float]:
    """Return the memory of this process by kind, MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    keys = ("VmHWM", "RssAnon", "RssFile")
    return {key: int(fields[key].split()[0]) * 1024 / MB for key in keys}


def measure(folder: Path, strategy: str, way: str) -> dict[str, Any]:
    """Run one way in a new process; return its figures, or its error."""
    arguments = [sys.executable, __file__, "--folder", str(folder)]
    start = time.perf_counter()
    result = subprocess.run(
        [*arguments, "--strategy", strategy, "--way", way],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    whole = time.perf_counter() - start
    shutil.rmtree(folder / "target", ignore_errors=True)
    if result.returncode:
        _, kind, sentence = result.stderr.rpartition("RuntimeError: ")
        return {"error": " ".join((kind + sentence).split())[:ERROR_LENGTH]}
    return {**json.loads(result.stdout.splitlines()[-1]), "whole": whole}


def environment() -> dict[str, str]:
    """Return the environment of all that is started."""
    return {
        **os.environ,
        "PYTHONPATH": str(LIBRARY),
        "DS_ACCELERATOR": "cpu",
        "GLOO_SOCKET_IFNAME": "lo",
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
    }


def make_base(folder: Path) -> None:
    """Write the config and random weights of the shape of GPT-2 (124M)."""
    from transformers import GPT2Config, GPT2LMHeadModel

    from retune.artifacts.publishing import write_manifest

    config = GPT2Config(resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0)
    GPT2LMHeadModel(config).save_pretrained(folder / "base")
    write_manifest(folder / "base")


def start_ranks(folder: Path, strategy: str, rounds: int) -> list[dict[str, Any]]:
    """Train and save on two ranks; return the figures of `save_16bit_model`, if any."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    arguments = ["--folder", str(folder), "--strategy", strategy]
    subprocess.run(
        [sys.executable, *launcher, __file__, *arguments, "--repeat", str(rounds)],
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=True,
    )
    figures = folder / f"{strategy}-16bit.json"
    return json.loads(figures.read_text()) if figures.exists() else []


def describe(rows: dict[str, list[dict[str, Any]]]) -> list[str]:
    """Return the lines of a Markdown table: medians (min-max)."""
    columns = ("seconds", "cpu", "whole", "anonymous", "mapped", "VmHWM")
    lines = [
        "| way | seconds | CPU s | with start | anonymous MB | mapped MB | VmHWM MB |",
        "| --- |" + " ---: |" * len(columns),
    ]
    for way, runs in rows.items():
        if errors := {run["error"] for run in runs if "error" in run}:
            lines.append(f"| `{way}` | fails: {'; '.join(errors)} | | | | | |")
            continue
        cells = [
            spread([run[column] for run in runs], 2 if column in TIMES else 0)
            if all(column in run for run in runs)
            else ""
            for column in columns
        ]
        lines.append(f"| `{way}` | {' | '.join(cells)} |")
    return lines


TIMES = ("seconds", "cpu", "whole")


def spread(values: list[float], digits: int) -> str:
    """Return "median (min-max)", or one number if all are the same."""
    low, middle, high = (
        f"{value:,.{digits}f}" for value in (min(values), median(values), max(values))
    )
    return middle if low == high else f"{middle} ({low}-{high})"


def compare(folder: Path, rounds: int) -> None:
    """Print the table of every strategy."""
    from retune.measuring.provenance import machine

    make_base(folder)
    print("; ".join(f"{key}: {value}" for key, value in machine().items()))
    packages = ("torch", "deepspeed", "transformers", "safetensors")
    print(", ".join(f"{name} {version(name)}" for name in packages))
    for strategy in STRATEGIES:
        in_ranks = start_ranks(folder, strategy, rounds)
        rows: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
        for number in range(rounds):
            print(f"{strategy}, round {number + 1}", file=sys.stderr)
            for way, runs in rows.items():
                if not any("error" in run for run in runs):
                    runs.append(measure(folder, strategy, way))
        if in_ranks:
            rows[IN_RANKS] = in_ranks
        size = sum(path.stat().st_size for path in (folder / strategy).iterdir())
        shutil.rmtree(folder / strategy)
        print(f"\n## {strategy}, a checkpoint of {size / MB:,.0f} MB\n")
        print("\n".join(describe(rows)))


def main() -> None:
    """Compare all ways, or be one of the processes that are compared."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeat", type=int, default=3, help="rounds of all ways")
    parser.add_argument(
        "--folder", type=Path, default=Path(tempfile.gettempdir()), help="where to work"
    )
    parser.add_argument("--strategy", choices=STRATEGIES, help=argparse.SUPPRESS)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        run = WAYS[options.way](
            options.folder, options.strategy, options.folder / "target"
        )
        print(json.dumps(watch(run)))
    elif options.strategy:
        train(options.folder, options.strategy, options.repeat)
    else:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            compare(Path(folder), options.repeat)


if __name__ == "__main__":
    main()
