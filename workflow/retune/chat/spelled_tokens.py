"""Control tokens that the data spells out: they stay text, and end no turn.

A user may write `<|im_end|>`. Before a conversation is rendered, a sign that no text
holds is put into each such word. So what the template writes itself can be told from
it, and the sign is taken out again before the text is encoded.
"""

import re
from collections.abc import Collection, Mapping
from typing import Any, TypeVar

from retune.examples.example import THOUGHT_BEGINS, THOUGHT_ENDS

# Unicode says that these are no characters.
SIGN = "\ufdd0"
ALIAS_BEGINS, ALIAS_ENDS = "\ufdd1", "\ufdd2"

Value = TypeVar("Value")


class SpelledTokens:
    """Finds special tokens that texts spell out, and marks them.

    Attributes:
        aliases: A name that no text holds, for each special token.
    """

    def __init__(self, special: Collection[str]) -> None:
        """Take the special tokens.

        The marks of a thought stay what they are: data has them in its contents, and
        templates look for them there.
        """
        names = sorted({*special} - {THOUGHT_BEGINS, THOUGHT_ENDS}, key=len)[::-1]
        self.aliases: Mapping[str, str] = {
            name: f"{ALIAS_BEGINS}{number}{ALIAS_ENDS}"
            for number, name in enumerate(names)
        }
        self._spelled = re.compile("|".join(map(re.escape, names)) or r"(?!)")
        self._either = re.compile(f"{SIGN}|{self._spelled.pattern}")

    def are_in(self, value: object) -> bool:
        """Return whether a string of a JSON value spells out a special token."""
        if isinstance(value, str):
            return self._spelled.search(value) is not None
        if isinstance(value, dict):
            return any(map(self.are_in, value.values()))
        return isinstance(value, list | tuple) and any(map(self.are_in, value))

    def marked(self, value: Any) -> Any:
        """Return a JSON value with a sign in each special token that it spells out."""
        if isinstance(value, str):
            return self._spelled.sub(lambda m: f"{m[0][0]}{SIGN}{m[0][1:]}", value)
        if isinstance(value, dict):
            return {key: self.marked(each) for key, each in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(map(self.marked, value))
        return value

    def with_aliases(
        self, text: str, spans: Collection[tuple[int, int]]
    ) -> tuple[str, list[tuple[int, int]]]:
        """Return a rendered text without signs, and its control tokens as aliases.

        Args:
            text: Text that a template made of marked messages.
            spans: Places in it, ascending.

        Returns:
            The text, and the same places in it.
        """
        pieces: list[str] = []
        places = sorted({place for span in spans for place in span})
        moved: dict[int, int] = {}
        at = length = 0
        for found in [*self._either.finditer(text), None]:
            start = found.start() if found else len(text)
            pieces.append(text[at:start])
            while places and places[0] <= start:
                moved[places[0]] = length + places[0] - at
                places.pop(0)
            length += start - at
            if found is None:
                break
            new = "" if found[0] == SIGN else self.aliases[found[0]]
            pieces.append(new)
            length += len(new)
            at = found.end()
        return "".join(pieces), [(moved[start], moved[end]) for start, end in spans]
