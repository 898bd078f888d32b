"""How texts are told apart: by colours on a terminal, by signs elsewhere.

What stands beside the text cannot be taken for it: the signs are escaped in the text,
and so is every character that would not be visible. No control sequence of the data
comes to a terminal.
"""

import re
from dataclasses import dataclass

LINE_SIGN, NEWLINE, CUT = "▌", "↵", "✂"
SIGNS = f"⟦⟧⟨⟩{LINE_SIGN}{NEWLINE}{CUT}"

# What is before a text, and what is after it.
Marks = tuple[str, str]


@dataclass(frozen=True)
class Style:
    """What is put around texts.

    Attributes:
        trained: Around tokens that the loss counts.
        untrained: Around tokens that the model only sees.
        left_out: Around tokens that no block has.
        special: Around the name of a special token and the code of a character. It may
            stand within the others.
        title: Around a line about a row.
        cut: Around a line about a cut.
    """

    trained: Marks
    untrained: Marks
    left_out: Marks
    special: Marks
    title: Marks
    cut: Marks

    def visible(self, text: str) -> str:
        """Return a text of which every character is visible, also newlines."""
        shown = "".join(
            char if is_plain(char) or char == "\n" else marked(self.special, code(char))
            for char in text
        )
        return shown.replace("\n", f"{NEWLINE}\n")

    def special_token(self, name: str) -> str:
        """Return the name of a special token."""
        shown = "".join(char if is_plain(char) else code(char) for char in name)
        return marked(self.special, shown)


def is_plain(char: str) -> bool:
    """Return whether a character is visible and none of the signs."""
    return char.isprintable() and char not in SIGNS


def code(char: str) -> str:
    r"""Return the code of a character: `\x1b`, `\u27e6`, or `\t`."""
    return char.encode("unicode_escape").decode()


def marked(marks: Marks, text: str) -> str:
    """Return a text of one or more lines, with marks around each line.

    No mark reaches over the end of a line: each line says by itself what it is, also
    in a pager or in what a search finds.
    """
    before, after = marks
    return re.sub(r"[^\n]+", lambda line: f"{before}{line[0]}{after}", text)


SIGNED = Style(
    trained=("⟦", "⟧"),
    untrained=("", ""),
    left_out=(CUT, CUT),
    special=("⟨", "⟩"),
    title=("", ""),
    cut=("", ""),
)
# The green one has a background, so that spaces are seen, too.
COLOURED = Style(
    trained=("\x1b[92;48;5;22m", "\x1b[39;49m"),
    untrained=("\x1b[2m", "\x1b[22m"),
    left_out=("\x1b[2;9m", "\x1b[22;29m"),
    special=("\x1b[7m", "\x1b[27m"),
    title=("\x1b[1m", "\x1b[22m"),
    cut=("\x1b[33m", "\x1b[39m"),
)
