"""A row of tokens as the pieces of text that the report shows."""

from collections.abc import Iterator
from itertools import islice

from retune.artifacts.tokens_card import Piece, ShownRow, Use
from retune.showing.row import Row
from retune.showing.spans import Span, spans_of
from retune.tokens.tokenizer import ModelTokenizer

# Most tokens at the beginning of a row that are made text, and most pieces.
MOST_TOKENS = 16_384
MOST_PIECES = 60
# Most characters of a row.
MOST_CHARACTERS = 2000


def shown_row(row: Row, tokenizer: ModelTokenizer) -> ShownRow:
    """Return a row whose text is so short that people read it.

    Long pieces lose their middle, so that the beginning and the end of each turn are
    seen; the end of a very long row is left out.

    Args:
        row: The row.
        tokenizer: The tokenizer that made it.
    """
    shown = list(islice(pieces_of(row, tokenizer), MOST_PIECES))
    most = longest_piece([len(piece.text) for piece, _ in shown], MOST_CHARACTERS)
    return ShownRow(
        number=row.number,
        tokens=len(row.ids),
        trained_tokens=int(row.counted.sum()),
        pieces=tuple(shortened(piece, most) for piece, _ in shown),
        hidden_tokens=len(row.ids) - (shown[-1][1] if shown else 0),
    )


def pieces_of(row: Row, tokenizer: ModelTokenizer) -> Iterator[tuple[Piece, int]]:
    """Yield the pieces of a row, each with the place after its last token.

    Args:
        row: The row; of a very long one only the beginning is read.
        tokenizer: The tokenizer that made it.
    """
    is_counted = row.counted
    for part in row.parts():
        end = min(part.end, MOST_TOKENS)
        if part.start >= end:
            return
        place = slice(part.start, end)
        spans = spans_of(row.ids[place], is_counted[place], tokenizer)
        begins_part = part.start > 0
        for span in spans:
            yield piece_of(span, part.is_read, begins_part), part.start + span.end
            begins_part = False


def piece_of(span: Span, is_read: bool, begins_part: bool) -> Piece:
    """Return a span as a piece.

    Args:
        span: The span.
        is_read: Whether a block has it.
        begins_part: Whether the row is cut before it.
    """
    seen: Use = "trained" if span.is_counted else "seen"
    return Piece(
        use=seen if is_read else "left_out",
        is_special=span.is_special,
        begins_part=begins_part,
        text=span.text,
    )


def longest_piece(lengths: list[int], most: int) -> int:
    """Return to how many characters pieces have to be shortened.

    Args:
        lengths: Number of characters of each piece.
        most: Number of characters that all of them may have together.

    Returns:
        Largest number of characters of a piece with which they do not have more.
    """
    for left, length in enumerate(sorted(lengths)):
        share = most // (len(lengths) - left)
        if length > share:
            return share
        most -= length
    return max(lengths, default=0)


def shortened(piece: Piece, most: int) -> Piece:
    """Return a piece with at most `most` characters; its middle is left out."""
    hidden = len(piece.text) - most
    if hidden <= 0 or piece.is_special:
        return piece
    ending = most // 3
    return piece.model_copy(
        update={
            "text": piece.text[: most - ending],
            "hidden": hidden,
            "ending": piece.text[len(piece.text) - ending :],
        }
    )
