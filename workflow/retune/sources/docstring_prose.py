"""The prose with which a docstring begins, without examples, lists and markup."""

import re
from collections.abc import Collection

MAX_CHARACTERS = 500
MAX_PARAGRAPHS = 3
MIN_WORDS = 3
# What no sentence begins with: an example, an item of a list, a table, a directive.
LINE_OF_NO_PROSE = re.compile(r"\s|>>>|[-*+|#=~.]|\d+[.)]")
# Signs of code, of tables and of notes for the authors; and what points to a place that
# an answer does not have.
NO_PROSE = re.compile(
    r"->|::|>>>|,\.|\. \([a-z]|={2}|-{3}|\s{3}|[{}\\]|\.\.\.|\[, ?|https?:"
    r"|^(But|And|Or)\b|\b(XXX|TODO|FIXME|Python [12])\b"
    r"|\b(above|below|as follows|following|see the|this file|deprecated|obsolete)\b"
    r"|\b(copyright|written by|author|contributed|e-?mail me)\b"
    r"|\b(hack|stub|internal|internally)\b",
    re.IGNORECASE,
)
# An argument's name as a docstring's own signature has it: `join(list [,sep])`.
OWN_SIGNATURE = re.compile(r"^[\w.]+\(.*\)( |$)")
# Names that are quoted as they once were: `name'.
OLD_QUOTES = re.compile(r"`(\w+)'")
ROLE = re.compile(r":[a-z:]+:`[~!.]?([^`]+)`")
DOUBLE_BACKTICKS = re.compile(r"``([^`]+)``")
EMPHASIS = re.compile(r"(?<![\w*])\*([A-Za-z_]\w*)\*(?![\w*])")
QUOTED = re.compile(r"(?<![\w`])(['\"])([A-Za-z_]\w*)\1(?![\w`])")
SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z`'\"(])")
ABBREVIATION = re.compile(r"\b(e\.g|i\.e|etc|vs|cf|resp)\.$")


def prose_of(docstring: str, arguments: Collection[str] = ()) -> list[str]:
    """Return the paragraphs with which a docstring begins, as far as they are prose.

    Args:
        docstring: A docstring, dedented.
        arguments: Names of the function's arguments. Where a quoted word is one of
            them, it becomes code.

    Returns:
        Paragraphs, a line each, with names in single backticks; none if the first is
        no prose.
    """
    found: list[str] = []
    for paragraph in re.split(r"\n\s*\n", docstring):
        text = prose_in(paragraph, is_first=not found)
        if text is None:
            break
        text = with_code(text, arguments)
        if found and len(" ".join([*found, text])) > MAX_CHARACTERS:
            break
        found.append(text)
        if len(found) == MAX_PARAGRAPHS:
            break
    return found if found and len(found[0]) <= MAX_CHARACTERS else []


def prose_in(paragraph: str, is_first: bool) -> str | None:
    """Return a paragraph as one line, or None if it is no prose.

    Args:
        paragraph: Lines of a docstring.
        is_first: Whether it is the first paragraph, which may lack its full stop.
    """
    lines = paragraph.splitlines()
    text = " ".join(lines)
    if not lines or any(LINE_OF_NO_PROSE.match(line) for line in lines):
        return None
    if NO_PROSE.search(text) or OWN_SIGNATURE.match(text) or has_headings(lines):
        return None
    text = OLD_QUOTES.sub(r"`\1`", " ".join(text.split()))
    if len(text.split()) < MIN_WORDS or not (text[0].isupper() or text[0] == "`"):
        return None
    if not is_balanced(text):
        return None
    if text[-1] not in ".!?":
        if not is_first or not (text[-1].isalnum() or text[-1] in ")`'\""):
            return None
        text += "."
    return text


def has_headings(lines: list[str]) -> bool:
    """Return whether a line ends before its sentence does, as a heading's would."""
    return any(
        len(line) < 55 and line[-1] not in ".!?,;:" and after[0].isupper()
        for line, after in zip(lines, lines[1:], strict=False)
        if after.split()[0] not in ("None", "True", "False", "I", "Python", "URL")
    )


def is_balanced(text: str) -> bool:
    """Return whether brackets and quotation marks come in pairs."""
    pairs = (("(", ")"), ("[", "]"))
    apostrophes = re.findall(r"(?<!\w)'|'(?!\w)", re.sub(r"s' ", " ", text))
    return (
        all(text.count(left) == text.count(right) for left, right in pairs)
        and text.count('"') % 2 == 0
        and text.count("`") % 2 == 0
        and len(apostrophes) % 2 == 0
    )


def with_code(text: str, arguments: Collection[str]) -> str:
    """Return a text whose marked-up names are in single backticks."""
    text = ROLE.sub(r"`\1`", text)
    text = DOUBLE_BACKTICKS.sub(r"`\1`", text)
    text = EMPHASIS.sub(r"`\1`", text)
    return QUOTED.sub(
        lambda found: f"`{found[2]}`" if found[2] in arguments else found[0], text
    )


def first_sentence(paragraph: str) -> tuple[str, str]:
    """Return the first sentence of a paragraph, and the rest of it."""
    for found in SENTENCE_END.finditer(paragraph):
        if not ABBREVIATION.search(paragraph[: found.start()]):
            return paragraph[: found.start()], paragraph[found.end() :]
    return paragraph, ""
