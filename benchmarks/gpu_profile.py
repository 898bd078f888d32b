"""Where the time of profiled steps goes on a GPU, by kernel."""

import gzip
import json
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

# What a trace calls work of the device.
ON_DEVICE = {"kernel", "gpu_memcpy", "gpu_memset"}
MOST_KERNELS = 40
MOST_CHARACTERS = 150
# What many names of kernels begin with and that says nothing.
PREFIXES = ("void ", "at::native::", "(anonymous namespace)::")


def kernel_table(trace: Path, steps: int) -> str:
    """Return the kernels that took longest, and how long the GPU had none.

    Args:
        trace: Compressed trace in Chrome's format that `finetune.profile` wrote.
        steps: Number of optimizer steps in it.
    """
    with gzip.open(trace) as file:
        events = json.load(file)["traceEvents"]
    on_device = [event for event in events if event.get("cat") in ON_DEVICE]
    if not on_device:
        return "nothing ran on a GPU\n"
    span = max(map(end_of, on_device)) - min(event["ts"] for event in on_device)
    times: dict[str, float] = defaultdict(float)
    calls: dict[str, int] = defaultdict(int)
    for event in on_device:
        times[event["name"]] += event["dur"]
        calls[event["name"]] += 1
    longest = sorted(times, key=times.__getitem__, reverse=True)
    lines = [f"{'ms/step':>9} {'share':>6} {'calls/step':>10}  kernel"]
    idle = span - busy(on_device)
    rows = [("(no kernel runs)", idle, 0)]
    rows += [(short(name), times[name], calls[name]) for name in longest[:MOST_KERNELS]]
    others = sum(times[name] for name in longest[MOST_KERNELS:])
    rows.append((f"({len(longest[MOST_KERNELS:])} others)", others, 0))
    for name, microseconds, count in rows:
        lines.append(
            f"{microseconds / steps / 1e3:9.2f} {microseconds / span:6.1%}"
            f" {count / steps:10.1f}  {name}"
        )
    return "\n".join(lines) + "\n"


def end_of(event: dict[str, Any]) -> float:
    """Return when an event ended, microseconds."""
    return float(event["ts"] + event["dur"])


def busy(events: Iterable[dict[str, Any]]) -> float:
    """Return for how long at least one of the events went on, microseconds."""
    total, until = 0.0, 0.0
    for event in sorted(events, key=lambda event: event["ts"]):
        total += max(0.0, end_of(event) - max(until, event["ts"]))
        until = max(until, end_of(event))
    return total


def short(name: str) -> str:
    """Return the name of a kernel without what says nothing."""
    for prefix in PREFIXES:
        name = name.replace(prefix, "")
    return name[:MOST_CHARACTERS]
