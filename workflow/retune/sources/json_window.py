"""The values of a JSON text, of which only a window is in memory."""

import json
import re
from typing import TextIO

from retune.examples.json_objects import object_of

CHARACTERS_AT_ONCE = 2**20
# Characters of `-Infinity` or of an escaped surrogate pair, and some to spare.
LONGEST_WORD = 16
BLANKS = re.compile(r"[ \t\n\r]*")
DECODER = json.JSONDecoder(object_pairs_hook=object_of)


class JsonWindow:
    """The part of a JSON text that has been read and not yet taken.

    Attributes:
        line: Line number of the current position, counted from 1.
    """

    def __init__(self, stream: TextIO) -> None:
        """Begin at the start of a stream."""
        self.line = 1
        self._stream = stream
        self._text = ""
        self._at = 0

    def next_character(self) -> str:
        """Skip blanks and return the character that follows; empty at the end."""
        while True:
            self._skip_to(next(BLANKS.finditer(self._text, self._at)).end())
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._read_on():
                return ""

    def skip(self) -> None:
        """Skip one character."""
        self._skip_to(self._at + 1)

    def take_value(self) -> object:
        """Return the value at the current position, and skip it.

        Raises:
            ValueError: If it is not JSON.
        """
        while True:
            try:
                value, end = DECODER.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                if not (self._may_be_cut_off(error) and self._read_on()):
                    raise
            else:
                self._skip_to(end)
                return value

    def line_of(self, error: json.JSONDecodeError) -> int:
        """Return the line of the whole text in which a value ceased to be JSON."""
        return self.line + self._text.count("\n", self._at, error.pos)

    def _may_be_cut_off(self, error: json.JSONDecodeError) -> bool:
        """Return whether an error may come of text that has not been read yet."""
        is_near_end = error.pos > len(self._text) - LONGEST_WORD
        return is_near_end or error.msg.startswith("Unterminated string")

    def _read_on(self) -> bool:
        """Read at least as much as is in memory; return whether anything came.

        Reading as much again keeps the time for one long value linear in its length.
        """
        rest = self._text[self._at :]
        read = self._stream.read(max(CHARACTERS_AT_ONCE, len(rest)))
        self._text, self._at = rest + read, 0
        return bool(read)

    def _skip_to(self, position: int) -> None:
        self.line += self._text.count("\n", self._at, position)
        self._at = position
