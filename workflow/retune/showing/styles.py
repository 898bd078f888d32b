"""How spans are told apart: by colours on a terminal, by brackets elsewhere.

What is shown beside the text cannot be mistaken for it: the signs that this needs are
escaped in the text, and so are all characters that are not visible. A terminal gets no
control sequence from the data.
"""

import re
from dataclasses import dataclass

# Signs that are ours alone.
TITLE, NEWLINE, LEFT_OUT = "▌", "↵", "✂"
RESERVED = f"⟦⟧⟨⟩{TITLE}{NEWLINE}{LEFT_OUT}"

# What is before some text, and after it.
Brackets = tuple[str, str]


@dataclass(frozen=True)
class Style:
    """What is put around texts.

    Attributes:
        trained: Around tokens that the loss counts.
        untrained: Around tokens that the model only sees.
        left_out: Around tokens that no block has.
        special: Around what is no text, within one of these: the name of a special
            token, or the code of a character.
        title: Around a line about a row.
        cut: Around a line about a cut.
    """

    trained: Brackets
    untrained: Brackets
    left_out: Brackets
    special: Brackets
    title: Brackets
    cut: Brackets

    def escape(self, text: str) -> str:
        """Return a text in which all characters are visible; newlines stay."""
        opening, closing = self.special
        return "".join(
            char
            if char == "\n" or (char.isprintable() and char not in RESERVED)
            else f"{opening}{ascii(char)[1:-1]}{closing}"
            for char in text
        )

    def special_token(self, name: str) -> str:
        """Return the name of a special token, marked as such."""
        opening, closing = self.special
        return f"{opening}{escape_name(name)}{closing}"


def escape_name(name: str) -> str:
    """Return the name of a special token in visible characters."""
    return "".join(
        char if char.isprintable() and char not in RESERVED else ascii(char)[1:-1]
        for char in name
    )


def around(brackets: Brackets, text: str) -> str:
    """Return a text of one or more lines, each of them in brackets.

    The brackets do not go over the end of a line, so each line says by itself what it
    is, also in the middle of a pager.
    """
    opening, closing = brackets
    return re.sub(r"[^\n]+", lambda line: f"{opening}{line[0]}{closing}", text)


PLAIN = Style(
    trained=("⟦", "⟧"),
    untrained=("", ""),
    left_out=(LEFT_OUT, LEFT_OUT),
    special=("⟨", "⟩"),
    title=("", ""),
    cut=("", ""),
)
# Each ends what it began and no more: a special token stands within the others.
COLOURED = Style(
    trained=("\x1b[32m", "\x1b[39m"),
    untrained=("\x1b[2m", "\x1b[22m"),
    left_out=("\x1b[2;9m", "\x1b[22;29m"),
    special=("\x1b[7m", "\x1b[27m"),
    title=("\x1b[1m", "\x1b[22m"),
    cut=("\x1b[33m", "\x1b[39m"),
)
