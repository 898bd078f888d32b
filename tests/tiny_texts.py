"""Texts of few words, for tests."""

WORDS = ["red", "green", "blue", "one", "two", "three", "up", "down", "left", "right"]


def make_texts(count: int) -> list[str]:
    """Return short texts of very unequal lengths."""
    return [
        " ".join(WORDS[(i * j + j) % 10] for j in range(2 + (i * 7) % 40))
        for i in range(count)
    ]
