"""Whether bitsandbytes is installed, without importing it."""

from importlib.util import find_spec

from retune.errors import RetuneError


def check_bitsandbytes(setting: str) -> None:
    """Raise RetuneError if bitsandbytes is not installed.

    Args:
        setting: The setting that needs it, with its value.
    """
    if find_spec("bitsandbytes") is None:
        raise RetuneError(
            f"{setting} needs bitsandbytes, which is not installed: pip install"
            " 'retune[bitsandbytes]'"
        )
