"""Paths as a user writes them."""

import os.path
from pathlib import Path


def user_path(text: str) -> Path:
    """Return the path that a text names.

    `~` stands for a home, unless a file of that very name exists.
    """
    path = Path(text)
    if os.path.exists(path):
        return path
    try:
        return path.expanduser()
    except RuntimeError:
        return path


def is_path(text: str) -> bool:
    """Return whether a text is clearly a path or a glob, or the path of a file."""
    return bool(text) and (
        text.startswith(("./", "../", "/", "~"))
        or text.endswith("/")
        or any(mark in text for mark in "*?[")
        or os.path.exists(user_path(text))
    )
