"""Measures what it costs to compare a model's folder with its manifest.

Random safetensors, in one file and in four, are verified as each step does it, and read
without, from a cold page cache and from a warm one; last, verified and then loaded,
beside loaded alone.

    python benchmarks/verifying.py [--size-gb 2] [--repeat 3] [--folder FOLDER]

Prints Markdown. Needs the size in the folder and in memory; no network. Cold means that
the kernel was asked to forget the file: what keeps it below, it does not know.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from machine import describe_machine
from safetensors.numpy import load_file, save_file

from retune.artifacts.publishing import PIECE, write_manifest
from retune.artifacts.verifying import verify_folder

GB = 10**9
# What the default run of params.yaml verifies in a step, at most.
SMALL_GB = 0.011
TENSORS = 8


def main() -> None:
    """Print a table."""
    options = parse_arguments()
    print(describe_machine("safetensors"))
    print()
    print("| | cold, s | GB/s | warm, s | GB/s |")
    print("| --- | ---: | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory(dir=options.folder) as root:
        for size, files in ((SMALL_GB, 1), (options.size_gb, 1), (options.size_gb, 4)):
            folder = Path(root) / f"{size}-{files}"
            write_model(folder, int(size * GB), files)
            for name, do in WAYS.items():
                cold = [measure(do, folder, is_cold=True) for _ in options.rounds]
                warm = [measure(do, folder, is_cold=False) for _ in options.rounds]
                title = f"{name}: {size:g} GB in {files} file{'s' * (files > 1)}"
                print(describe(title, size, cold, warm), flush=True)


def parse_arguments() -> argparse.Namespace:
    """Return the command line's values."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--size-gb", type=float, default=2)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    options.rounds = range(options.repeat)
    return options


def write_model(folder: Path, size: int, files: int) -> None:
    """Write random weights and their manifest, as `fetch` does."""
    folder.mkdir()
    random = np.random.default_rng(0)
    for number in range(files):
        tensors = {
            f"weight.{number}.{i}": random.random(
                size // files // TENSORS // 4, dtype=np.float32
            )
            for i in range(TENSORS)
        }
        save_file(tensors, folder / f"model-{number}.safetensors")
    write_manifest(folder)


def verify(folder: Path) -> None:
    """Compare the folder with its manifest."""
    verify_folder(folder, "fetch")


def read(folder: Path) -> None:
    """Read the files, one after the other."""
    piece = bytearray(PIECE)
    for path in weights_of(folder):
        with path.open("rb", buffering=0) as file:
            while file.readinto(piece):
                pass


def load(folder: Path) -> None:
    """Load every tensor, one file after the other."""
    for path in weights_of(folder):
        load_file(path)


def verify_and_load(folder: Path) -> None:
    """Do what a step does."""
    verify(folder)
    load(folder)


WAYS: dict[str, Callable[[Path], None]] = {
    "read": read,
    "verify": verify,
    "load": load,
    "verify, then load": verify_and_load,
}


def weights_of(folder: Path) -> list[Path]:
    """Return the files of a model."""
    return sorted(folder.glob("*.safetensors"))


def measure(do: Callable[[Path], None], folder: Path, is_cold: bool) -> float:
    """Return the seconds that something takes."""
    for path in weights_of(folder):
        if is_cold:
            forget(path)
    if not is_cold:
        read(folder)
    start = time.perf_counter()
    do(folder)
    return time.perf_counter() - start


def forget(path: Path) -> None:
    """Ask the kernel to drop a file from the page cache."""
    file = os.open(path, os.O_RDONLY)
    os.fsync(file)
    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(file)


def describe(title: str, size: float, cold: list[float], warm: list[float]) -> str:
    """Return a line of the table: the fastest, the least disturbed by others."""
    figures = [f"{min(s):.2f} | {size / min(s):.2f}" for s in (cold, warm)]
    return f"| {title} | {' | '.join(figures)} |"


if __name__ == "__main__":
    main()
