"""Errors about one of several sources, with the keys that it has in params.yaml."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from retune.errors import RetuneError
from retune.settings import SourceSettings

KEY = re.compile(rf"\bdataset(?=\.(?:{'|'.join(SourceSettings.model_fields)})\b|: )")


@contextmanager
def errors_of_source(name: str) -> Iterator[None]:
    """Have an error about a key of `dataset` name that of a source instead.

    Args:
        name: Name of the source.
    """
    try:
        yield
    except RetuneError as error:
        # The error itself stays: its class decides the exit code.
        error.args = (about_source(name, str(error)),)
        raise


def about_source(name: str, text: str) -> str:
    """Return an error about a key of `dataset` as one about that of a source.

    Args:
        name: Name of the source.
        text: The error.
    """
    return KEY.sub(f"dataset.sources.{name}", text)
