"""Which of the user's files have changed, by lists of them with their MD5."""

from dataclasses import dataclass


@dataclass(frozen=True)
class FileChanges:
    """Paths of files that differ, that have come, and that have gone."""

    changed: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()


def compare_files(before: str, now: str) -> FileChanges:
    """Compare two lists, as `md5sum` writes them."""
    old, new = read_list(before), read_list(now)
    return FileChanges(
        tuple(path for path in new if path in old and old[path] != new[path]),
        tuple(path for path in new if path not in old),
        tuple(path for path in old if path not in new),
    )


def read_list(text: str) -> dict[str, str]:
    """Return the MD5 of each path."""
    pairs = (line.split("  ", 1) for line in text.split("\n") if "  " in line)
    return {path: md5 for md5, path in pairs}
