"""Texts that tell two tokenizers with different rules apart."""

import random
from collections.abc import Callable

WRITTEN = (
    "",
    " ",
    "a",
    "Hello world",
    "  two  spaces here ",
    "Line\nbreak\n\n\ttab\r\nand   \n  indented",
    "It's we'll THEY'RE don’t I'M",
    "caf\u00e9 cafe\u0301 \ufb01ne \u2460 \uff21\uff22 Stra\u00dfe \u0130stanbul",
    "1 12 123 1234 12345 3.14 6,789.00 1e-5 0x1F 2026-11-26",
    'def f(x):\n    return x[1:] + {"a": 1}  # a_b camelCase',
    "Привет 你好，世界。 こんにちは 안녕하세요 مرحبا שלום नमस्ते ไทย 👋🏽👨‍👩‍👧",
    "<s> and </s>, <unk> or <|endoftext|>: [INST] ### ... -- == !!! ???",
    "a▁b ▁ c Ġd \u00a0e\u2009f \u3000g\u200b",
)
# Most pieces of a vocabulary that are used, and pieces per text made of them.
MOST_PIECES = 20_000
PIECES_PER_TEXT = 25


def probe_texts(decode: Callable[[list[int]], str], vocab_size: int) -> list[str]:
    """Return texts that were written for this, and texts of a vocabulary's pieces.

    The pieces follow each other in a random order, so that only tokenizers with the
    same rules split the texts alike.

    Args:
        decode: Returns the text of tokens.
        vocab_size: Number of tokens of the vocabulary.
    """
    draw = random.Random(0)
    tokens = list(range(vocab_size))
    draw.shuffle(tokens)
    pieces = [decode([token]) for token in tokens[:MOST_PIECES]]
    # A piece may be some bytes of a character, which are no text.
    pieces = [piece for piece in pieces if piece and "\ufffd" not in piece]
    texts = []
    for first in range(0, len(pieces), PIECES_PER_TEXT):
        joint = draw.choice(("", " "))
        texts.append(joint.join(pieces[first : first + PIECES_PER_TEXT]))
    return [*WRITTEN, *texts]
