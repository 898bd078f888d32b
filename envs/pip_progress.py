"""Shows how far `pip install` is, from what it prints; `make setup` calls it.

On a terminal one line is written over and over, elsewhere a line comes every 20 s.
Python's own library is all it needs: nothing is installed yet.
"""

import os
import re
import select
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

NAMED = re.compile(r"(?:Collecting|Requirement already satisfied:) ([\w.-]+)")
DOWNLOADING = re.compile(r"\s*Downloading (\S+?)(?:\.whl|\.tar\.gz)?( \(.+\))?$")
WIPE_LINE = "\r\x1b[2K"
TERMINAL_S, ELSEWHERE_S = 0.5, 20.0


class Progress:
    """What pip has said so far."""

    def __init__(self, total: int) -> None:
        """Begin to count up to `total` packages."""
        self._total = total
        self._found: set[str] = set()
        self._to_install = 0
        self._there_before = count_installed()
        self._loading = ""

    def read(self, line: str) -> None:
        """Take a line of pip's."""
        if named := NAMED.match(line):
            self._found.add(named[1].lower())
            self._loading = ""
        elif loading := DOWNLOADING.match(line):
            name, size = loading[1].split("/")[-1], loading[2] or ""
            self._loading = f", downloading {name}{size}"
        elif line.startswith("Installing collected packages: "):
            self._to_install = line.count(",") + 1

    def __str__(self) -> str:
        """Return how far it is."""
        if self._to_install:
            done = count_installed() - self._there_before
            return f"{min(done, self._to_install)} of {self._to_install} installed"
        found = len(self._found)
        return f"{found} of {max(found, self._total)} packages found{self._loading}"


def count_installed() -> int:
    """Return how many packages are in .venv."""
    return len(list(Path(".venv/lib").glob("python*/site-packages/*.dist-info")))


def lines_and_ticks(every_s: float) -> Iterator[str | None]:
    """Yield each line of stdin, and None at least every so many seconds."""
    rest, is_open = b"", True
    while is_open:
        ready, _, _ = select.select([sys.stdin], [], [], every_s)
        if ready:
            text = os.read(sys.stdin.fileno(), 65536)
            is_open = bool(text)
            *lines, rest = (rest + text).split(b"\n")
            yield from (line.decode(errors="replace") for line in lines)
        yield None


def clock(start: float) -> str:
    """Return the time since then, as in 1:05."""
    minutes, seconds = divmod(int(time.monotonic() - start), 60)
    return f"{minutes}:{seconds:02d}"


def main(label: str, total: int) -> None:
    """Show how far pip is, until it ends."""
    is_terminal = sys.stdout.isatty()
    every_s = TERMINAL_S if is_terminal else ELSEWHERE_S
    progress, start = Progress(total), time.monotonic()
    shown = start
    print(f"  {label}", end="" if is_terminal else "\n", flush=True)
    for line in lines_and_ticks(every_s):
        if line is not None:
            progress.read(line)
            continue
        if time.monotonic() - shown < every_s:
            continue
        shown = time.monotonic()
        text = f"  {label}: {clock(start)}, {progress}"
        if is_terminal:
            columns = os.get_terminal_size(sys.stdout.fileno()).columns
            print(f"{WIPE_LINE}{text[: columns - 1]}", end="", flush=True)
        else:
            print(f"  {text}", flush=True)
    print(f"{WIPE_LINE if is_terminal else '  '}  {label}: {clock(start)}")


if __name__ == "__main__":
    # Ctrl-C is pip's, too: that says so and ends, and this with it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    main(sys.argv[1], int(sys.argv[2]))
