"""What a step shows while it runs: one progress bar per terminal, and lines.

Steps run side by side on one terminal; the first to draw keeps it (a lock on the
terminal itself) and the others stay silent. Where there is no terminal, nothing
is drawn: the log has the lines.
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
    """Yield a tqdm bar on stdout, disabled unless this process may draw one."""
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


def tell(step: str, text: str) -> None:
    """Print a line for people, over a bar that may be drawn there."""
    if sys.__stdout__ is None:
        return
    wipe = "\r\x1b[2K" if sys.__stdout__.isatty() else ""
    with suppress(OSError, ValueError):  # nobody reads it any more
        print(f"{wipe}  {step:<12} {text}", file=sys.__stdout__, flush=True)


@contextmanager
def terminal_lock() -> Iterator[bool]:
    """Yield whether stdout is a terminal that no other step draws on."""
    try:
        name = os.ttyname(sys.__stdout__.fileno()) if sys.__stdout__ else ""
        handle = os.open(name, os.O_RDONLY | os.O_NOCTTY)
    except (OSError, ValueError):  # no terminal, or one that is another user's
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
