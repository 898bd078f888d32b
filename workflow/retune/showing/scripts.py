"""Scripts that texts are written in, told by the names of their letters in Unicode."""

import unicodedata
from collections import Counter
from collections.abc import Iterable

# Other first words of names of letters, and the script that they belong to.
OTHER_NAMES = {
    "CJK": "Han",
    "IDEOGRAPHIC": "Han",
    "HALFWIDTH": "Katakana",
    "FULLWIDTH": "Latin",
    "FEMININE": "Latin",
    "MASCULINE": "Latin",
    "MICRO": "Greek",
}
# Scripts that are named, and the part of the letters that these have at least. The
# letters of all others are counted together.
MOST_SCRIPTS = 5
LEAST_SHARE = 0.001
OTHERS = "other scripts"


def shares_of_scripts(texts: Iterable[str]) -> dict[str, float]:
    """Return the part of the letters that each script has, the largest first.

    Args:
        texts: The texts, each of which is read once.

    Returns:
        Shares by the names of scripts, such as `Latin`; empty if there are no letters.
    """
    characters: Counter[str] = Counter()
    for text in texts:
        characters.update(text)
    scripts: Counter[str] = Counter()
    for character, count in characters.items():
        if character.isalpha():
            scripts[script_of(character)] += count
    total = scripts.total()
    shares = {
        name: count / total
        for name, count in scripts.most_common(MOST_SCRIPTS)
        if count >= LEAST_SHARE * total
    }
    if len(shares) < len(scripts):
        shares[OTHERS] = 1 - sum(shares.values())
    return {name: round(share, 6) for name, share in shares.items()}


def script_of(letter: str) -> str:
    """Return the name of a letter's script, such as `Latin`, `Han` or `Cyrillic`."""
    word = unicodedata.name(letter, OTHERS).split()[0].partition("-")[0]
    return OTHER_NAMES.get(word, word.capitalize())
