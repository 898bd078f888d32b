"""Whether this machine has flash-attn, if attention is to be computed with it."""

import socket
from importlib.util import find_spec

from retune.errors import RetuneError
from retune.settings.rules import Strategy

KERNELS = "flash_attention_2"


def check_flash_attention(strategy: Strategy) -> None:
    """Raise RetuneError if a strategy needs flash-attn and that is not installed."""
    if strategy.attn_implementation == KERNELS and find_spec("flash_attn") is None:
        raise RetuneError(
            f"configure.attn_implementation: {KERNELS} needs flash-attn, which is not"
            f" installed on {socket.gethostname()}: pip install flash-attn, or write"
            " auto"
        )
