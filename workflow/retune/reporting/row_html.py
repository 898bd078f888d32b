"""A row of tokens as HTML, in which what is trained is marked by more than a colour."""

from markupsafe import Markup

from retune.artifacts.tokens_card import Piece, ShownRow, Use
from retune.quantities import counted, percent
from retune.reporting.escaping import visible

TAGS: dict[Use, Markup] = {
    "trained": Markup("mark"),
    "seen": Markup("span"),
    "left_out": Markup("s"),
}
# A sign in a tag of its own, so that none in a text can be taken for it.
LINE_END = Markup("<i>↵</i>\n")
NOTE = Markup("<small>{}</small>")
LINE_OF_NOTE = Markup('<small class="cut">{}</small>\n')


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


def row_html(row: ShownRow) -> Markup:
    """Return the text of a row; nothing in it is taken for markup."""
    html = Markup("").join(piece_html(piece) for piece in row.pieces)
    if row.hidden_tokens:
        more = counted(row.hidden_tokens, "more token")
        html += Markup("\n") + LINE_OF_NOTE.format(f"… {more}, not shown here")
    return html


def piece_html(piece: Piece) -> Markup:
    """Return a piece in the tag of its use, after a line about the cut before it."""
    text = text_html(piece.text)
    if piece.is_special:
        text = Markup("<b>{}</b>").format(text)
    if piece.hidden:
        text += NOTE.format(f" … {piece.hidden:,} more characters … ")
    text += text_html(piece.ending)
    tag = TAGS[piece.use]
    html = Markup("<{0}>{1}</{0}>").format(tag, text)
    if not piece.begins_part:
        return html
    return Markup("\n") + LINE_OF_NOTE.format(cut_text(piece.use)) + html


def cut_text(use: Use) -> str:
    """Return what is said of a cut before a piece."""
    if use == "left_out":
        return "✂ no block has what follows"
    return "✂ cut: the model sees what follows by itself"


def text_html(text: str) -> Markup:
    """Return a text of which every character is visible, also line feeds."""
    return LINE_END.join(visible(line) for line in text.split("\n"))
