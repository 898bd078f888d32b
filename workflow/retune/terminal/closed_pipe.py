"""What to do when the reader of a pipe leaves, as `head` does when it has enough."""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def while_someone_reads() -> Iterator[None]:
    """End the block silently when nobody reads any more what it prints to stdout.

    A character that the stream's encoding lacks is printed as its code.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        # Python flushes once more at its end, which would be an error again.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
