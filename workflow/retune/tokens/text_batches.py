"""Batches of texts that are encoded together."""

from collections.abc import Iterator, Sequence

TEXTS_PER_BATCH = 1000
# While `tokenizers` encodes a text it takes a hundred times its size, in each thread.
CHARACTERS_PER_BATCH = 2**20


def batches_of(texts: Sequence[str]) -> Iterator[list[str]]:
    """Yield texts in batches of bounded number and size; a longer text is alone."""
    batch: list[str] = []
    characters = 0
    for text in texts:
        characters += len(text)
        if batch and (
            len(batch) == TEXTS_PER_BATCH or characters > CHARACTERS_PER_BATCH
        ):
            yield batch
            batch, characters = [], len(text)
        batch.append(text)
    if batch:
        yield batch
