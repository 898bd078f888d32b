"""Checks that a run can write its outputs, before it has worked for hours."""

import os
import pwd
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path


def writing_problem(
    outputs: Iterable[str],
    logs: Iterable[str],
    folders: Iterable[str],
    trees: Iterable[str],
) -> str | None:
    """Return what cannot be written and why, None if all of it can.

    Args:
        outputs: Paths of files and folders that are replaced as a whole.
        logs: Paths of files that are written where they are.
        folders: Paths of folders in which the run makes and removes folders of its own.
        trees: Paths of folders in which, and in whose folders, files come and go.
    """
    places: dict[str, list[str]] = {}
    for place, is_folder in sorted(set(places_to_write(outputs, logs, folders, trees))):
        if reason := why_not_writable(place, is_folder):
            name = str(Path.cwd()) if place == Path() else str(place)
            places.setdefault(reason, []).append(name)
    lines = [
        f"{', '.join(names)} cannot be written: {reason}"
        for reason, names in places.items()
    ]
    return "\n".join(lines) or None


def places_to_write(
    outputs: Iterable[str],
    logs: Iterable[str],
    folders: Iterable[str],
    trees: Iterable[str],
) -> Iterator[tuple[Path, bool]]:
    """Yield the paths that have to be writable, and whether each must be a folder."""
    for output in map(Path, outputs):
        yield nearest(output.parent), True
        if output.is_dir():
            yield output, True
    for log in map(Path, logs):
        yield (log, False) if os.path.lexists(log) else (nearest(log.parent), True)
    for folder in map(Path, folders):
        yield nearest(folder), True
    for folder in map(Path, trees):
        yield nearest(folder), True
        if folder.is_dir() and os.access(folder, os.R_OK, effective_ids=True):
            yield from ((entry, True) for entry in folder.iterdir() if entry.is_dir())


def nearest(folder: Path) -> Path:
    """Return a folder, or the nearest one above it that exists."""
    while not os.path.lexists(folder):
        folder = folder.parent
    return folder


def why_not_writable(place: Path, is_folder: bool) -> str | None:
    """Return why a folder, or a file, cannot be written; None if it can."""
    if not place.exists():
        return f"a link to {os.readlink(place)}, which is not there"
    if is_folder and not place.is_dir():
        return "a file, where a folder is needed"
    needed = os.W_OK | os.X_OK if is_folder else os.W_OK
    if os.access(place, needed, effective_ids=True):
        return None
    if os.statvfs(place).f_flag & os.ST_RDONLY:
        return "the file system is mounted read-only"
    status = place.stat()
    mode = stat.filemode(status.st_mode)
    if status.st_uid == os.geteuid():
        return f"its mode is {mode}; chmod u+rwX makes it writable"
    return f"it belongs to {user(status.st_uid)} ({mode}), and you are {user()}"


def user(number: int | None = None) -> str:
    """Return the name of a user, or the number where that has none."""
    number = os.geteuid() if number is None else number
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"
