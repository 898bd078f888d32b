"""Measures what `tokenize` costs beside the bare tokenizer, and beside TRL.

Texts: the writing of a split, and the whole step, beside `encode_batch_fast` of the
same tokenizer with the same batches. Conversations: the same beside the preparation of
TRL's SFTTrainer, whose tokens and masks are compared, too. Memory: the largest resident
memory of the step for one size and for ten times as much. Packing: how full blocks get
with examples of given files, beside TRL's `pack_dataset`.

    pip install --no-deps --target TRL trl==1.16.0
    HF_HUB_OFFLINE=1 python benchmarks/tokenizing.py [text] [chat] [memory] [fill]
        [--model FOLDER] [--trl TRL] [--data FILE ...] [--text-mb 20] [--rows 5000]
        [--repeat 5] [--memory-mb 200 2000]

Prints Markdown. Needs three times the largest text in the temporary folder; no network.
The model may be any folder of one with ChatML's tokens; without it the built-in model
is taken.
"""

import argparse
import gc
import itertools
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from resource import RUSAGE_CHILDREN, RUSAGE_SELF, getrusage

import numpy as np
import pyarrow.parquet as pq
from machine import describe_machine
from tokenizers import Tokenizer
from tokenizing_inputs import (
    LENGTH,
    as_rows,
    long_conversations,
    short_conversations,
    up_to,
    vocabulary_of,
    write_base,
    write_conversations,
    write_splits,
    write_texts,
)

from retune.artifacts.model_facts import ModelFacts
from retune.examples.example import COLUMN, Conversation, Example, read_example
from retune.settings import DatasetSettings, TokenizeSettings
from retune.steps import download, tokenize
from retune.tokens.example_encoder import ExampleEncoder
from retune.tokens.filling import best_fit
from retune.tokens.split_tokens import write_split
from retune.tokens.store import StoredSequences
from retune.tokens.text_batches import batches_of
from retune.tokens.tokenizer import ModelTokenizer

PARTS = ("text", "chat", "memory", "fill")
# Rows to which those of a small file are repeated.
MANY_ROWS = 4000
# What is run in a process of its own to see its memory.
STEP = """
import sys
from pathlib import Path
from retune.settings import TokenizeSettings
from retune.steps import tokenize
tokenize.run(TokenizeSettings(), *map(Path, sys.argv[1:]))
"""


@dataclass(frozen=True)
class Cost:
    """What a run costs.

    Attributes:
        wall: Seconds.
        cpu: Seconds of all processors, with those of child processes.
    """

    wall: float
    cpu: float


def main() -> None:
    """Print a table for each part."""
    options = parse_arguments()
    if options.trl:
        sys.path.append(str(options.trl))
    packages = ["tokenizers", "transformers", *(["trl"] if options.trl else [])]
    print(describe_machine(*packages))
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        root = Path(name)
        base = root / "base"
        write_base(base, options.model)
        print(f"\nByte-level BPE of {vocabulary_of(base):,} tokens.")
        if "text" in options.parts:
            print_text(root, base, options)
        if "chat" in options.parts:
            print_chat(root, base, options)
        if "memory" in options.parts:
            print_memory(root, base, options)
        if "fill" in options.parts:
            print_fill(root, base, options)


def parse_arguments() -> argparse.Namespace:
    """Return the command line's values."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--model", type=Path)
    parser.add_argument("--trl", type=Path)
    parser.add_argument("--data", type=Path, nargs="*", default=[])
    parser.add_argument("--text-mb", type=float, default=20)
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--memory-mb", type=float, nargs=2, default=(200, 2000))
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    options.parts = options.parts or PARTS
    if unknown := set(options.parts) - {*PARTS}:
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    return options


def print_text(root: Path, base: Path, options: argparse.Namespace) -> None:
    """Print what texts cost."""
    clean = root / "texts"
    write_texts(clean, options.text_mb)
    texts = pq.read_table(clean / "train.parquet")["text"].to_pylist()
    bare = Tokenizer.from_file(str(base / "tokenizer.json"))

    def encode() -> None:
        for batch in batches_of(texts):
            bare.encode_batch_fast(batch, add_special_tokens=False)

    costs = take_turns(
        {
            "encode_batch_fast": encode,
            "writing of the split": Writing(root, base, clean),
            "whole step": partial(run_step, root, base, clean),
        },
        options.repeat,
    )
    megabytes = sum(len(text.encode()) for text in texts) / 10**6
    print_costs(f"{megabytes:.0f} MB of text", costs)


def print_chat(root: Path, base: Path, options: argparse.Namespace) -> None:
    """Print what conversations cost, and whether TRL makes the same of them."""
    kinds = {"short": short_conversations(), "long": long_conversations()}
    for kind, conversations in kinds.items():
        clean = root / kind
        write_conversations(clean, itertools.islice(conversations, options.rows))
        ways: dict[str, Callable[[], object]] = {
            "writing of the split": Writing(root, base, clean),
            "whole step": partial(run_step, root, base, clean),
        }
        rows = [row for row in read_examples(clean) if isinstance(row, Conversation)]
        if options.trl:
            from tokenizing_trl import Preparation

            alone, by_two = (Preparation(base, as_rows(rows), n) for n in (None, 2))
            ways["TRL"] = alone
            ways["TRL, dataset_num_proc=2"] = by_two
        costs = take_turns(ways, options.repeat)
        turns = statistics.mean(row.num_turns for row in rows)
        print_costs(f"{len(rows):,} {kind} conversations, {turns:.1f} turns", costs)
        if options.trl:
            print_agreement(root, base, rows, alone.prepared)


def print_agreement(
    root: Path,
    base: Path,
    examples: list[Conversation],
    prepared: Iterable[Mapping[str, list[int]]],
) -> None:
    """Print in how many rows TRL has the same tokens, and trains the same ones.

    Args:
        root: Folder with the tokens of the same rows.
        base: Folder of the base model.
        examples: The rows.
        prepared: Rows with TRL's tokens and labels.
    """
    spelled = encoder_of(base).spelled
    ours = StoredSequences(root / "tokens", "train")
    same = explained = 0
    for example, sequence, row in zip(examples, ours, prepared, strict=True):
        labels = np.where(sequence.trained, sequence.ids, -100).tolist()
        is_same = (sequence.ids.tolist(), labels) == (row["input_ids"], row["labels"])
        same += is_same
        explained += not is_same and spelled.are_in(example.messages)
    print(
        f"\nOf {len(ours):,} rows, {same:,} have the tokens that TRL makes of them, and"
        f" the same ones trained; {explained:,} of the others spell special tokens out."
    )


def print_memory(root: Path, base: Path, options: argparse.Namespace) -> None:
    """Print the memory of the step for a size and another."""
    print("\n| | MB | s | memory of its own, MB | resident, with files, MB |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for kind, share in {"texts": 1, "conversations": 0.25}.items():
        for megabytes in options.memory_mb:
            clean = root / f"{kind}-{megabytes:g}"
            size = share * megabytes
            if kind == "texts":
                write_texts(clean, size)
            else:
                lines = (each.to_json() for each in long_conversations())
                write_splits(clean, up_to(size, lines), "example")
            figures = (size, *memory_of_step(base, clean, root))
            row = " | ".join(f"{figure:,.0f}" for figure in figures)
            print(f"| {kind} | {row} |", flush=True)
            for path in (clean / "train.parquet", root / "tokens/train.tokens.bin"):
                path.unlink()


def memory_of_step(base: Path, clean: Path, root: Path) -> tuple[float, float, float]:
    """Return the seconds and the largest memory of the step in a process of its own.

    Returns:
        Seconds, the memory of its own in MB, and the resident memory in MB. The latter
        has the pages of mapped files, which the kernel drops where memory is short.
    """
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-c", STEP, clean, base, root / "tokens", root / "tokens.json"]
    )
    own = resident = 0.0
    while process.poll() is None:
        status = Path(f"/proc/{process.pid}/status").read_text()
        own = max(own, size_in(status, "RssAnon"))
        resident = max(resident, size_in(status, "VmHWM"))
        time.sleep(0.05)
    if process.returncode:
        raise SystemExit(f"the step ended with {process.returncode}")
    return time.perf_counter() - start, own, resident


def size_in(status: str, name: str) -> float:
    """Return a number of MB from a process's status."""
    found = re.search(rf"{name}:\s*(\d+) kB", status)
    return int(found[1]) * 1024 / 10**6 if found else 0.0


def print_fill(root: Path, base: Path, options: argparse.Namespace) -> None:
    """Print how full blocks get with the examples of files."""
    trl = "| TRL, full " if options.trl else ""
    print(f"\n| file | sequences | blocks | full | without the last {trl}|")
    print("| --- |" + " ---: |" * (5 if options.trl else 4))
    for file in options.data:
        sizes = sequence_sizes(root, base, file)
        times = -(-MANY_ROWS // len(sizes))
        for name, some in (
            (file.name, sizes),
            (f"{file.name}, {times} times", np.tile(sizes, times)),
        ):
            print(f"| {name} | {describe_fill(some, bool(options.trl))} |", flush=True)


def sequence_sizes(root: Path, base: Path, file: Path) -> np.ndarray:
    """Return the lengths of the sequences of a file, without those that are dropped."""
    raw = root / f"raw-{file.name}"
    settings = {"source": "local", "files": str(file)}
    download.run(DatasetSettings.model_validate(settings), raw)
    examples = read_examples(raw)
    encoder = encoder_of(base)
    sequences = encoder.encode(list(map(str, range(len(examples)))), examples)
    sizes = np.array([len(each.ids) for some in sequences for each in some])
    return sizes[sizes <= LENGTH]


def describe_fill(sizes: np.ndarray, with_trl: bool) -> str:
    """Return how many blocks sequences fill, and how full these get."""
    blocks = np.bincount(best_fit(sizes, LENGTH), weights=sizes)
    fuller = np.sort(blocks)[1:]
    shares = [blocks.mean() / LENGTH, fuller.mean() / LENGTH if len(fuller) else 1]
    if with_trl:
        from tokenizing_trl import packed_blocks

        shares.append(sizes.sum() / packed_blocks(sizes, LENGTH) / LENGTH)
    figures = [f"{100 * share:.2f} %" for share in shares]
    return " | ".join([f"{len(sizes):,}", f"{len(blocks):,}", *figures])


def read_examples(folder: Path) -> list[Example]:
    """Return the examples of train."""
    lines = pq.read_table(folder / "train.parquet")[COLUMN].to_pylist()
    return [read_example(line) for line in lines]


def encoder_of(base: Path) -> ExampleEncoder:
    """Return what encodes examples for a base model."""
    facts = ModelFacts.read(base)
    return ExampleEncoder(base, facts, ModelTokenizer.of(base, facts))


def run_step(root: Path, base: Path, clean: Path) -> None:
    """Run the whole step."""
    settings = TokenizeSettings(sequence_length=LENGTH)
    tokenize.run(settings, clean, base, root / "tokens", root / "tokens.json")


class Writing:
    """The writing of the split train, with a tokenizer that is loaded before."""

    def __init__(self, root: Path, base: Path, clean: Path) -> None:
        """Load the tokenizer of a base model."""
        self._facts = ModelFacts.read(base)
        self._tokenizer = ModelTokenizer.of(base, self._facts)
        self._encoder = ExampleEncoder(base, self._facts, self._tokenizer)
        self._source, self._folder = clean / "train.parquet", root

    def __call__(self) -> None:
        """Write the split."""
        tools = self._tokenizer, self._encoder, self._facts
        write_split(self._source, self._folder, "train", *tools)


def take_turns(
    ways: dict[str, Callable[[], object]], rounds: int
) -> dict[str, list[Cost]]:
    """Return what each way costs in each round; one round before is not counted."""
    costs: dict[str, list[Cost]] = {name: [] for name in ways}
    # As in a process of `retune`, the search for garbage leaves alone what is there.
    gc.freeze()
    for number in range(rounds + 1):
        for name, run in ways.items():
            before = now()
            run()
            after = now()
            if number:
                cost = Cost(after.wall - before.wall, after.cpu - before.cpu)
                costs[name].append(cost)
    return costs


def now() -> Cost:
    """Return the time so far."""
    used = [getrusage(who) for who in (RUSAGE_SELF, RUSAGE_CHILDREN)]
    cpu = sum(each.ru_utime + each.ru_stime for each in used)
    return Cost(time.perf_counter(), cpu)


def print_costs(title: str, costs: dict[str, list[Cost]]) -> None:
    """Print the median of each way, and of its ratio to the first one in a round."""
    print(f"\n{title}\n\n| | s | CPU s | of the first | CPU of the first |")
    print("| --- | ---: | ---: | ---: | ---: |")
    first = next(iter(costs.values()))
    for name, rounds in costs.items():
        pairs = list(zip(rounds, first, strict=True))
        figures = [
            statistics.median(cost.wall for cost in rounds),
            statistics.median(cost.cpu for cost in rounds),
            statistics.median(cost.wall / other.wall for cost, other in pairs),
            statistics.median(cost.cpu / other.cpu for cost, other in pairs),
        ]
        print(f"| {name} | {' | '.join(f'{each:.2f}' for each in figures)} |")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
