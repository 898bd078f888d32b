"""Paths as a user writes them."""

from pathlib import Path


def user_path(text: str) -> Path:
    """Return the path a text names: as it is if that exists, else `~` stands for home.

    A name may begin with `~` without meaning anybody's home.
    """
    path = Path(text)
    if path.exists():
        return path
    try:
        return path.expanduser()
    except RuntimeError:
        return path
