"""What a step shows while it runs: one progress bar per terminal, and lines.

Several steps may run side by side on one terminal. The first to draw a bar locks the
terminal, and the others draw none. Without a terminal nothing is drawn: the log has
all that matters.
"""

import fcntl
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from tqdm import tqdm


@contextmanager
def progress_bar(step: str, total: float, unit: str, **options: Any) -> Iterator[tqdm]:
    """Yield a tqdm bar on stdout, which is disabled unless this process may draw one.

    Args:
        step: Name of the step, to the left of the bar.
        total: Number of units of the whole.
        unit: Name of the unit.
        options: More arguments of tqdm.
    """
    with terminal_lock() as may_draw:
        bar = tqdm(
            total=total,
            desc=f"  {step:<12}",
            unit=unit,
            file=sys.__stdout__,
            disable=not may_draw,
            leave=False,
            dynamic_ncols=True,
            bar_format="{desc}{bar:24} {n_fmt}/{total_fmt} {unit}  "
            "{elapsed}<{remaining}{postfix}",
            **options,
        )
        try:
            yield bar
        finally:
            bar.close()


def print_line(step: str, text: str) -> None:
    """Print a line for people to stdout, in place of a bar that may be drawn there."""
    if sys.__stdout__ is None:
        return
    wipe = "\r\x1b[2K" if sys.__stdout__.isatty() else ""
    with suppress(OSError, ValueError):  # The reader is gone.
        print(f"{wipe}  {step:<12} {text}", file=sys.__stdout__, flush=True)


@contextmanager
def terminal_lock() -> Iterator[bool]:
    """Yield whether stdout is a terminal that no other step draws on."""
    try:
        name = os.ttyname(sys.__stdout__.fileno()) if sys.__stdout__ else ""
        handle = os.open(name, os.O_RDONLY | os.O_NOCTTY)
    except (OSError, ValueError):  # No terminal, or one of another user.
        yield False
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        yield False
    else:
        yield True
    finally:
        os.close(handle)
