"""How much main memory this process has for itself."""

from pathlib import Path


def resident_mb() -> float:
    """Return the resident memory of this process that belongs to no file, MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (kilobytes,) = [line.split()[1] for line in lines if line.startswith("RssAnon")]
    return int(kilobytes) * 1024 / 1e6
