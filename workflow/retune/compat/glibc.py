"""glibc's allocator, which keeps memory that was freed, and can be told not to.

Uses glibc's `malloc_trim`. Without it the main memory of large tensors that were needed
for a moment may stay with the process, in gaps between those that are still there.
"""

import ctypes


def return_freed_memory() -> None:
    """Give memory that has been freed back to the operating system.

    Where the C library is not glibc, nothing is done.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
