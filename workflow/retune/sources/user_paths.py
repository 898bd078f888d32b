"""Paths as a user writes them."""

import os.path
from pathlib import Path


def user_path(text: str) -> Path:
    """Return the path a text names: as it is if that exists, else `~` stands for home.

    A name may begin with `~` without meaning anybody's home.
    """
    path = Path(text)
    if os.path.exists(path):
        return path
    try:
        return path.expanduser()
    except RuntimeError:
        return path


def is_path(text: str) -> bool:
    """Return whether a text can only be a path or a glob, or is one that exists."""
    return bool(text) and (
        text.startswith(("./", "../", "/", "~"))
        or text.endswith("/")
        or any(mark in text for mark in "*?[")
        or os.path.exists(user_path(text))
    )
