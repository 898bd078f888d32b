"""Faster imports of large libraries."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_garbage_collection() -> Iterator[None]:
    """Import what the block imports without a search for garbage in between.

    torch and transformers make 600,000 objects that all stay. Python would walk over
    them again and again, which is a third of the time that importing takes; afterwards
    it leaves them alone for good.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
