"""What it saves that no garbage is collected while a step imports.

    python benchmarks/imports.py [--repeat 7]

Starts Python processes that import the module of a step, or of a rank, with and without
Python's garbage collector, in turn, and takes the CPU time of each.
"""

import argparse
import os
import statistics
import subprocess
import sys

from machine import describe_machine

MODULES = (
    "retune.steps.prepare",
    "retune.steps.consolidate",
    "retune.steps.evaluate",
    "retune.training.loop",
)
WITH = "import {}"
WITHOUT = (
    "from retune.imports import without_garbage_collection\n"
    "with without_garbage_collection():\n"
    "    import {}"
)


def main() -> None:
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=7, metavar="N")
    repeat = parser.parse_args().repeat
    print(f"{describe_machine('torch', 'transformers')}; {repeat} times each.\n")
    print("| module | collected, s | not collected, s | ratio of the pairs |")
    print("| --- | ---: | ---: | ---: |")
    for module in MODULES:
        pairs = [
            (cpu_seconds(WITH.format(module)), cpu_seconds(WITHOUT.format(module)))
            for _ in range(repeat)
        ]
        before, after = (statistics.median(times) for times in zip(*pairs, strict=True))
        ratio = statistics.median(b / a for a, b in pairs)
        print(f"| `{module}` | {before:.2f} | {after:.2f} | {ratio:.2f} |")


def cpu_seconds(code: str) -> float:
    """Return the CPU time, user and system, of a process that runs some Python."""
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0, code
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
