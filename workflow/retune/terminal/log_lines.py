"""A step's log, in which a line that ranks or libraries repeat is shown once.

The end of the log has how often a line was repeated. Two kinds of lines are always
shown: indented lines and lone brackets, because without them a block would mean
something else; and errors, with all that follows up to the next record of the log.
"""

import errno
import io
import re
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, suppress
from typing import TextIO

from retune.terminal.closed_terminal import leave_closed_terminal

# The time in a record of a log, such as `17:22:35 INFO`, `[2026-11-26 17:23:53,386]` or
# `[rank0]:[W1126 17:23:53.123 file.cpp:1]`; the number of a process may follow it.
TIME = re.compile(r"\d\d:\d\d:\d\d(?:[.,]\d+)?(?: \d+(?= ))?")
RECORD_STARTS_WITHIN = 30
# /path/of/module.py:83: FutureWarning: text
PYTHON_WARNING = re.compile(r"\S.*:\d+: \w*Warning: ")
WARNING = re.compile(r"\bWARNING\b|\[W\d{4} |^W\d{4} |Warning: ")
# A line that means something only among its neighbours: indented, or a lone bracket.
IN_BLOCK = re.compile(r"\s|\W+$")
RANK = re.compile(r"\brank ?\d+\b( \|)?")
ERROR = re.compile(
    r"\bERROR\b|\bCRITICAL\b|^error: |^Traceback |^Fatal Python error|(^|\[)E\d{4} "
)
LIKE_AN_ERROR = re.compile(
    r"error|exception|traceback|fatal|abort|fail|killed|core dumped|not finite|\bnan\b",
    re.IGNORECASE,
)
# A line to which a node has added the rank's name, and pdsh the node's before it.
NAMED = re.compile(r"((?:[\w.-]+: )?rank \d+) \| (.*)")
SHOWN_CHARACTERS = 160


class LogLines(io.TextIOBase):
    """A stream that does not write a line again that it has written already."""

    def __init__(self, stream: TextIO) -> None:
        """Make a stream.

        Args:
            stream: The stream that the lines are written to.
        """
        self._stream = stream
        self._lock = threading.RLock()
        self._rest = ""
        self._seen: Counter[str] = Counter()
        self._first: dict[str, str] = {}
        self._in_error: set[str] = set()
        # For each origin whose last line was a warning of Python: whether it was shown.
        self._warned: dict[str, bool] = {}

    def fileno(self) -> int:
        """Return the file descriptor of the stream, for processes that are started."""
        return self._stream.fileno()

    def writable(self) -> bool:
        """Return that it can be written to."""
        return True

    def write(self, text: str) -> int:
        """Take text of this process; a line is written once it is complete."""
        with self._lock:
            *lines, self._rest = (self._rest + text).split("\n")
            for line in lines:
                self.add(line)
        return len(text)

    def flush(self) -> None:
        """Flush the stream; a line that is not complete yet stays here."""
        self._stream.flush()

    def add(self, line: str, origin: str = "") -> None:
        """Write a line, unless it was written before.

        Args:
            line: The line, without the newline.
            origin: Name of the process that printed it, such as `rank 1`; empty for
                this process.
        """
        # Of a progress bar, which is drawn again and again, keep the last state.
        line = line.rstrip("\r").rpartition("\r")[2].rstrip()
        if not origin and (named := NAMED.match(line)):
            origin, line = named.groups()
        with self._lock:
            if self._is_shown(line, origin):
                says_it = not origin or f"{origin} " in line[:RECORD_STARTS_WITHIN]
                self._put(line if says_it else f"{origin} | {line}")

    def finish(self) -> None:
        """Write the last line, and how often lines were repeated."""
        with self._lock:
            if self._rest:
                self.write("\n")
            for key, count in self._seen.most_common():
                if count > 1 and key:
                    shown = self._first[key][:SHOWN_CHARACTERS]
                    times = "once more" if count == 2 else f"{count - 1} more times"
                    self._put(f"printed {times}: {shown}")
            self._seen.clear()

    def _put(self, line: str) -> None:
        try:
            self._stream.write(f"{line}\n")
            self._stream.flush()
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            leave_closed_terminal()

    def _is_shown(self, line: str, origin: str) -> bool:
        is_record = bool(TIME.search(line[:RECORD_STARTS_WITHIN]))
        is_warning = bool(PYTHON_WARNING.match(line) or WARNING.search(line))
        if ERROR.search(line) and not is_warning:
            self._in_error.add(origin)
        elif is_record or PYTHON_WARNING.match(line):
            self._in_error.discard(origin)
        if origin in self._in_error:
            return True
        # Below a warning Python prints the line of code that it is about.
        if line.startswith("  ") and origin in self._warned:
            return self._warned.pop(origin)
        self._warned.pop(origin, None)
        if IN_BLOCK.match(line):
            return True
        if not is_warning and LIKE_AN_ERROR.search(line):
            return True
        key = RANK.sub("", TIME.sub("", line)).strip()
        self._seen[key] += 1
        self._first.setdefault(key, line)
        is_new = self._seen[key] == 1
        if PYTHON_WARNING.match(line):
            self._warned[origin] = is_new
        return is_new


@contextmanager
def log_lines() -> Iterator[LogLines]:
    """Send this process's stderr through a `LogLines`; nested blocks use the same."""
    if isinstance(sys.stderr, LogLines):
        yield sys.stderr
        return
    lines = LogLines(sys.stderr)
    with redirect_stderr(lines):
        try:
            yield lines
        finally:
            lines.finish()


def pass_on_output(
    process: "subprocess.Popen[bytes]", lines: LogLines, origin: str = ""
) -> threading.Thread:
    """Start a thread that passes on what a process prints, until its output ends.

    Args:
        process: The process, whose stdout is a pipe.
        lines: The log.
        origin: Name of the process, such as `rank 1`.
    """

    def read() -> None:
        assert process.stdout
        for line in process.stdout:
            # If the log cannot be written, the process must not block for that.
            with suppress(OSError):
                lines.add(line.decode(errors="replace").rstrip("\n"), origin)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    return thread
