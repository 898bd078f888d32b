"""Rows as text for people."""

from collections.abc import Iterable
from itertools import groupby

from retune.quantities import counted, percent
from retune.showing.row import Part, Row
from retune.showing.spans import Span, spans_of
from retune.showing.style import CUT, LINE_SIGN, NEWLINE, Marks, Style, marked
from retune.tokens.tokenizer import ModelTokenizer


def legend(style: Style) -> str:
    """Return the line that says what the marks mean."""
    kinds = (
        marked(style.trained, "trained"),
        marked(style.untrained, "not trained"),
        marked(style.left_out, "left out"),
        style.special_token("special token"),
        f"newline {NEWLINE}",
    )
    return f"{LINE_SIGN}{'   '.join(kinds)}\n"


def title(row: Row, rows: int, sequence_length: int, style: Style) -> str:
    """Return the line with the numbers of a row.

    Args:
        row: The row.
        rows: Number of rows of the split.
        sequence_length: Tokens per block.
        style: How it is marked.
    """
    tokens, trained = len(row.ids), int(row.counted.sum())
    words = (
        f"{LINE_SIGN}row {row.number:,} of {rows:,}: {counted(tokens, 'token')}"
        f" (sequence_length: {sequence_length:,}), {trained:,} trained"
        f" ({percent(trained / max(tokens, 1))})"
    )
    return f"{marked(style.title, words)}\n"


def body(
    row: Row, sequence_length: int, tokenizer: ModelTokenizer, style: Style
) -> str:
    """Return the text of a row, with a line of its own for each cut.

    Args:
        row: The row.
        sequence_length: Tokens per block.
        tokenizer: The tokenizer that made it.
        style: How it is marked.
    """
    shown, is_counted = "", row.counted
    for part in row.parts():
        if part.start or not part.is_read:
            cut = f"{LINE_SIGN}{CUT} {cut_before(part, row, sequence_length)}"
            shown = f"{with_line_end(shown)}{marked(style.cut, cut)}\n"
        place = slice(part.start, part.end)
        spans = spans_of(row.ids[place], is_counted[place], tokenizer)
        shown += part_text(spans, part.is_read, style)
    return with_line_end(shown)


def cut_before(part: Part, row: Row, sequence_length: int) -> str:
    """Return what is said of the cut before a part."""
    if part.is_read:
        return "cut: the model sees what follows by itself; no loss for its first token"
    tokens = part.end - part.start
    if tokens < len(row.ids):
        return f"{counted(tokens, 'token')} left out"
    if not row.trained.any():
        return "all left out: nothing of it is trained"
    if tokens > sequence_length:
        return "all left out: it is longer than sequence_length"
    return "all left out: no block has it"


def part_text(spans: Iterable[Span], is_read: bool, style: Style) -> str:
    """Return the text of a part of a row.

    Args:
        spans: The spans of the part.
        is_read: Whether a block has them.
        style: How they are marked.
    """

    def marks_of(span: Span) -> Marks:
        if not is_read:
            return style.left_out
        return style.trained if span.is_counted else style.untrained

    return "".join(
        marked(marks, "".join(span_text(span, style) for span in alike))
        for marks, alike in groupby(spans, marks_of)
    )


def span_text(span: Span, style: Style) -> str:
    """Return the text of a span, in which every character is visible."""
    if span.is_special:
        return style.special_token(span.text)
    return style.visible(span.text)


def with_line_end(text: str) -> str:
    """Return a text that ends with its line, unless it is empty."""
    return text if text.endswith("\n") or not text else f"{text}\n"
