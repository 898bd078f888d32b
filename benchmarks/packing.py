"""Measures how full blocks get, how long packing takes, and what reading a block costs.

Sequences of random lengths are packed whole: in the order in which they come, each into
the last block if it fits and otherwise into a new one, and by best-fit decreasing, as
`tokenize` does. Then blocks are read in random order, as training does: texts cut where
a block ends, and whole chats of about ten to a block with a mask of what is trained.

    python benchmarks/packing.py [--sequences 1000000] [--blocks 2000] [--repeat 5]

Prints Markdown. Needs 100 MB in the temporary folder; no network.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from machine import describe_machine

from retune.artifacts.tokens_index import SplitSize, TokensIndex
from retune.settings.tokenize import Packing
from retune.tokens.blocks import PackedBlocks
from retune.tokens.filling import best_fit
from retune.tokens.packing import pack_split
from retune.tokens.store import token_dtype, written_split

LENGTH, VOCABULARY, SEED = 2048, 50_000, 0
# Median and spread of the number of tokens: of chats, of which about ten fill a block,
# and of texts.
CHATS, TEXTS = (170, 0.6), (600, 1.0)


def main() -> None:
    """Print two tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sequences", type=int, default=1_000_000)
    parser.add_argument("--blocks", type=int, default=2000)
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()
    print(describe_machine("numpy"))
    print()
    print_filling(options.sequences)
    print()
    print_reading(options.blocks, options.repeat)


def print_filling(count: int) -> None:
    """Print how full the blocks get."""
    random = np.random.default_rng(SEED)
    lengths = {
        "any length from 2 to 2,048": random.integers(2, LENGTH + 1, count),
        "any length from 2 to 1,024": random.integers(2, LENGTH // 2 + 1, count),
        "chats, median 170": lengths_of(CHATS, count),
        "texts, median 600, to 2,048": lengths_of(TEXTS, count),
    }
    print("| | first come, full | best fit, full | best fit, s |")
    print("| --- | ---: | ---: | ---: |")
    for name, sizes in lengths.items():
        start = time.perf_counter()
        blocks = int(best_fit(sizes, LENGTH).max()) + 1
        seconds = time.perf_counter() - start
        full = [sizes.sum() / n / LENGTH for n in (first_come(sizes), blocks)]
        shares = [f"{100 * share:.2f} %" for share in full]
        print(f"| {name} | {' | '.join(shares)} | {seconds:.2f} |", flush=True)


def lengths_of(kind: tuple[int, float], count: int) -> np.ndarray:
    """Return random lengths, log-normal and at most a block's."""
    median, spread = kind
    lengths = np.random.default_rng(SEED).lognormal(np.log(median), spread, count)
    return np.clip(lengths.astype(np.int64), 2, LENGTH)


def first_come(sizes: np.ndarray) -> int:
    """Return the number of blocks if each sequence goes into the last one or a new."""
    blocks, room = 1, LENGTH
    for size in sizes.tolist():
        if size > room:
            blocks, room = blocks + 1, LENGTH
        room -= size
    return blocks


def print_reading(blocks: int, repeat: int) -> None:
    """Print how long it takes to read a block."""
    print("| | segments per block | µs per block |")
    print("| --- | ---: | ---: |")
    cases: dict[str, tuple[tuple[int, float], Packing, bool]] = {
        "texts, wrap": (TEXTS, "wrap", False),
        "chats, best fit, masked": (CHATS, "best_fit", True),
    }
    for name, (kind, packing, has_answers) in cases.items():
        with tempfile.TemporaryDirectory() as root:
            folder = Path(root)
            write_tokens(folder, kind, blocks, packing, has_answers)
            packed = PackedBlocks(folder, "train")
            segments = len(np.fromfile(folder / "train.segments.bin", "<i8")) / 2
            best = min(read(packed) for _ in range(repeat))
            print(f"| {name} | {segments / len(packed):.1f} | {best:.0f} |")


def write_tokens(
    folder: Path,
    kind: tuple[int, float],
    blocks: int,
    packing: Packing,
    has_answers: bool,
) -> None:
    """Write random tokens that fill about so many blocks."""
    random = np.random.default_rng(SEED)
    sizes = lengths_of(kind, 20 * blocks)
    sizes = sizes[np.cumsum(sizes) <= blocks * LENGTH]
    dtype = token_dtype(VOCABULARY)
    with written_split(folder, "train", dtype, has_answers) as stream:
        for size in sizes.tolist():
            ids = random.integers(0, VOCABULARY, size)
            stream.append(ids, [size], np.arange(size) > size // 2)
    (packed,) = pack_split(folder, "train", dtype, LENGTH, packing, "drop", has_answers)
    train = SplitSize(
        documents=len(sizes),
        sequences=stream.sequences,
        tokens=stream.tokens,
        bytes=stream.tokens,
        blocks=packed.blocks,
    )
    TokensIndex(
        sequence_length=LENGTH,
        has_answers=has_answers,
        packing=packing,
        vocab_size=VOCABULARY,
        splits={"train": train},
        dtype=dtype.str,
        bos_token_id=0,
        eos_token_id=0,
        tokenizer_sha256="",
    ).write(folder)


def read(blocks: PackedBlocks) -> float:
    """Return the microseconds that reading a block takes, in batches of 8."""
    order = np.random.default_rng(SEED).permutation(len(blocks))
    start = time.perf_counter()
    for first in range(0, len(order), 8):
        numbers = order[first : first + 8]
        blocks.batch(numbers)
        blocks.num_labels(numbers)
    return 1e6 * (time.perf_counter() - start) / len(order)


if __name__ == "__main__":
    main()
