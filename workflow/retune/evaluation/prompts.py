"""The texts that the samples continue: the user's, or beginnings of test documents."""

import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence

from retune.settings import SampleSettings

NUM_PROMPTS = 3
MOST_WORDS = 6
MOST_CHARACTERS = 60
# Number of characters that count as words in scripts without spaces between words.
MOST_UNSPACED = 12
UNSPACED = (
    *("CJK", "HIRAGANA", "KATAKANA"),
    *("THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN"),
)
# Characters that belong to the next one: vowels of Thai and Lao that precede their
# consonant, and signs of Khmer and Burmese that stack consonants.
JOINED_TO_NEXT = "เแโใไ\u0ec0\u0ec1\u0ec2\u0ec3\u0ec4\u17d2\u1039"
# Characters that belong to the one before: vowels of Thai and Lao that follow their
# consonant, Japanese small letters and the Japanese sign of length.
JOINED_TO_LAST = "\u0e30\u0e32\u0e33\u0e45\u0eb0\u0eb2\u0eb3ーっゃゅょッャュョ"


def find_prompts(
    settings: SampleSettings, texts: Sequence[str], fits: Callable[[str], bool]
) -> list[str]:
    """Return the prompts of the settings, or the first words of some documents.

    Args:
        settings: The `sample` section.
        texts: The test documents, in an order that never changes.
        fits: Returns whether a prompt leaves the model room to go on.
    """
    if settings.prompts != "auto":
        return list(settings.prompts)
    prompts: list[str] = []
    for index in spread(len(texts), NUM_PROMPTS):
        prompt = beginning_of(texts[index], fits)
        if prompt is not None and prompt not in prompts:
            prompts.append(prompt)
        if len(prompts) == NUM_PROMPTS:
            break
    # Documents of a word each have no beginning; a model can start one by itself.
    return prompts or [""]


def spread(length: int, count: int) -> Iterator[int]:
    """Yield all indices below `length`: first `count` that lie far apart."""
    first = [length * (2 * number + 1) // (2 * count) for number in range(count)]
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
