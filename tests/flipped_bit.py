"""What a bad disk does."""

import os
from pathlib import Path


def flip_a_bit(file: Path, status: os.stat_result | None = None) -> None:
    """Flip a bit in the middle of a file, and of all links to it.

    Args:
        file: The file; its size stays.
        status: With the times that it gets; its own if not given.
    """
    status = status or file.stat()
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.chmod(0o644)
    file.write_bytes(content)
    file.chmod(status.st_mode)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
