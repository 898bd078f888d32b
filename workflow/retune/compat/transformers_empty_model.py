"""A model that is built to be filled with stored weights."""

from collections.abc import Iterator
from contextlib import contextmanager

from transformers.initialization import no_init_weights
from transformers.integrations.deepspeed import prevent_arange_dtype_change


@contextmanager
def without_initial_weights() -> Iterator[None]:
    """Build models under ZeRO-3 without random weights, and their buffers exactly.

    Uses `no_init_weights`, without which every rank would draw random weights that are
    overwritten at once, and `prevent_arange_dtype_change`, without which the
    frequencies of rotary embeddings would be rounded to the precision of the weights.
    """
    with no_init_weights(), prevent_arange_dtype_change():
        yield
