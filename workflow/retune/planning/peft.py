"""Whether peft is installed, without importing it."""

from importlib.util import find_spec

from retune.errors import RetuneError


def check_peft() -> None:
    """Raise RetuneError if peft, which makes the adapters, is not installed."""
    if find_spec("peft") is None:
        raise RetuneError(
            "finetune.lora needs peft, which is not installed: pip install"
            " 'retune[lora]'"
        )
