"""The texts that the samples continue: the user's, or beginnings of test documents."""

import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence

from retune.settings import EvaluateSettings

COUNT = 3
MOST_WORDS = 6
MOST_CHARACTERS = 60
# Of a script that puts no spaces between its words.
MOST_UNSPACED = 12
UNSPACED = (
    *("CJK", "HIRAGANA", "KATAKANA"),
    *("THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN"),
)
# Vowels of Thai and Lao that precede their consonant; what stacks those of others.
JOINED_TO_NEXT = "เแโใไ\u0ec0\u0ec1\u0ec2\u0ec3\u0ec4\u17d2\u1039"
# Vowels of Thai and Lao that follow it; Japanese small letters and the mark of length.
JOINED_TO_LAST = "\u0e30\u0e32\u0e33\u0e45\u0eb0\u0eb2\u0eb3ーっゃゅょッャュョ"


def find_prompts(
    settings: EvaluateSettings, texts: Sequence[str], fits: Callable[[str], bool]
) -> list[str]:
    """Return the prompts of the settings, or the first words of some documents.

    Args:
        settings: The `evaluate` section.
        texts: The test documents, in an order that never changes.
        fits: Returns whether a prompt leaves the model room to go on.
    """
    if settings.prompts != "auto":
        return list(settings.prompts)
    prompts: list[str] = []
    for index in spread(len(texts), COUNT):
        prompt = beginning_of(texts[index], fits)
        if prompt is not None and prompt not in prompts:
            prompts.append(prompt)
        if len(prompts) == COUNT:
            break
    # Documents of a word each have no beginning; a model can start one by itself.
    return prompts or [""]


def spread(length: int, count: int) -> Iterator[int]:
    """Yield all indices below `length`: first `count` that lie far apart."""
    first = [length * (2 * part + 1) // (2 * count) for part in range(count)]
    yield from dict.fromkeys([*first, *range(length)] if length else [])


def beginning_of(text: str, fits: Callable[[str], bool]) -> str | None:
    """Return the first words of a text, at most half of it; None if there are none."""
    half = len(text.strip()) / 2
    for end in reversed(list(ends_of_words(text))):
        prompt = text[:end]
        if len(prompt.strip()) <= half and fits(prompt):
            return prompt
    return None


def ends_of_words(text: str) -> Iterator[int]:
    """Yield where the first words of a text end, ascending.

    In a script without spaces that is after each character; what belongs to one, such
    as a vowel's sign, stays with it.
    """
    start = len(text) - len(text.lstrip())
    unspaced = 0
    for words, word in enumerate(re.finditer(r"\S+", text)):
        for end in range(word.start() + 1, word.end() + 1):
            if end - start > MOST_CHARACTERS or words + unspaced >= MOST_UNSPACED:
                return
            if is_unspaced(text[end - 1]):
                unspaced += 1
            elif end < word.end() or words >= MOST_WORDS:
                continue
            if end == word.end() or may_divide(text[end - 1], text[end]):
                yield end


def is_unspaced(char: str) -> bool:
    """Return whether a character is of a script without spaces between words."""
    return unicodedata.name(char, "").startswith(UNSPACED)


def may_divide(before: str, after: str) -> bool:
    """Return whether two characters of a word may be taken apart."""
    begins = unicodedata.category(after)[0] in "LP"
    return begins and before not in JOINED_TO_NEXT and after not in JOINED_TO_LAST
