"""Where an answer ends: at the first token that generation stops at."""

from collections.abc import Collection


class TurnEnds:
    """The tokens that generation stops at, as they stand in a rendered conversation.

    Attributes:
        eos: The token that ends a text; it ends an answer that has no other end.
    """

    def __init__(self, names: Collection[str], eos: str) -> None:
        """Take the tokens that generation stops at, and EOS."""
        self.eos = eos
        self._names = sorted({*names, eos}, key=len, reverse=True)

    def end_of_answer(self, text: str, start: int, end: int) -> int | None:
        """Return where an answer ends, with the token that generation stops at.

        Some templates write more after that token: a line feed, or a second token. The
        model never writes those.

        Args:
            text: A rendered conversation.
            start: First character that the answer's turn adds.
            end: Character after the last one that it adds.

        Returns:
            The character after the token; None if no such token ends the answer.
        """
        content_end = end
        while (shorter := self._without_end(text, start, content_end)) < content_end:
            content_end = shorter
        return self.end_after(text, content_end, end)

    def end_after(self, text: str, place: int, end: int) -> int | None:
        """Return where the token ends that generation stops at, right after a place.

        Args:
            text: A rendered conversation.
            place: Place at which an answer's words end; blanks may follow.
            end: Character after the last one that is looked at.

        Returns:
            The character after the token; None if another text follows.
        """
        while place < end and text[place].isspace():
            place += 1
        for name in self._names:
            if text.startswith(name, place, end):
                return place + len(name)
        return None

    def _without_end(self, text: str, start: int, end: int) -> int:
        """Return the end of a text without the last blanks, or without a last token."""
        while end > start and text[end - 1].isspace():
            end -= 1
        for name in self._names:
            if text.endswith(name, start, end):
                return end - len(name)
        return end
