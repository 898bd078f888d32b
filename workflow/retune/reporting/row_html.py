"""A row of tokens as HTML, in which what is trained is marked by more than a colour."""

from retune.artifacts.tokens_card import Piece, ShownRow, Use
from retune.quantities import counted, percent
from retune.reporting.escaping import to_html

TAGS: dict[Use, str] = {"trained": "mark", "seen": "span", "left_out": "s"}
# A sign in a tag of its own, so that none in a text can be taken for it.
LINE_END = "<i>↵</i>\n"


def row_title(row: ShownRow, rows: int) -> str:
    """Return the numbers of a row, in a line.

    Args:
        row: The row.
        rows: Number of rows of the split.
    """
    share = percent(row.trained_tokens / max(row.tokens, 1))
    return (
        f"Row {row.number:,} of {rows:,}: {counted(row.tokens, 'token')},"
        f" {row.trained_tokens:,} trained ({share})"
    )


def row_html(row: ShownRow) -> str:
    """Return the text of a row as HTML; nothing in it is taken for markup."""
    html = "".join(piece_html(piece) for piece in row.pieces)
    if not row.hidden_tokens:
        return html
    return html + line_of_note(f"… {counted(row.hidden_tokens, 'more token')}")


def piece_html(piece: Piece) -> str:
    """Return a piece in the tag of its use, after a line about the cut before it."""
    text = text_html(piece.text)
    if piece.is_special:
        text = f"<b>{text}</b>"
    if piece.hidden:
        text += f"<small> … {piece.hidden:,} more characters … </small>"
    text += text_html(piece.ending)
    tag = TAGS[piece.use]
    cut = line_of_note(f"✂ {cut_text(piece.use)}") if piece.begins_part else ""
    return f"{cut}<{tag}>{text}</{tag}>"


def line_of_note(note: str) -> str:
    """Return a line that is no text of the row."""
    return f"\n<small>{note}</small>\n"


def cut_text(use: Use) -> str:
    """Return what is said of a cut before a piece."""
    if use == "left_out":
        return "no block has what follows"
    return "cut: the model sees what follows by itself"


def text_html(text: str) -> str:
    """Return HTML of a text in which every character is visible, also line feeds."""
    return LINE_END.join(to_html(line) for line in text.split("\n"))
