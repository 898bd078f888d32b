"""What is wrong where a YAML parser stopped, in words for people who write settings."""

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

import yaml

CONFLICT = re.compile(r"(<{7}|={7}|>{7})( |$)")
BRACKETS = {"{": "}", "[": "]"}
OPENING = (yaml.FlowMappingStartToken, yaml.FlowSequenceStartToken)
CLOSING = (yaml.FlowMappingEndToken, yaml.FlowSequenceEndToken)
# Characters that look like a space, from web pages and word processors.
OTHER_SPACES = "\u00a0\u1680\u2000-\u200b\u202f\u205f\u3000\ufeff"
OTHER_SPACE_AFTER_KEY = re.compile(rf"\s*(?:- )?[\w.-]+:([{OTHER_SPACES}])")


@dataclass(frozen=True)
class Place:
    """A place in a text; both numbers begin at 0."""

    line: int
    column: int

    @classmethod
    def of(cls, mark: yaml.Mark | None) -> "Place":
        """Return the place that the parser's mark names; without one, the beginning."""
        return cls(mark.line, mark.column) if mark else cls(0, 0)

    @classmethod
    def after(cls, text: str) -> "Place":
        """Return the place at the end of a text."""
        return cls(text.count("\n"), len(text) - text.rfind("\n") - 1)


@dataclass(frozen=True)
class Problem:
    """What is wrong in a text, and where.

    Attributes:
        place: Where it can be mended.
        what: What is wrong, in words.
    """

    place: Place
    what: str


@dataclass(frozen=True)
class Stop:
    """Where the parser stopped.

    Attributes:
        begin: Place where the value begins that the parser was reading.
        end: Place where the parser stopped.
        lines: Lines of the whole text.
    """

    begin: Place
    end: Place
    lines: list[str]

    @property
    def line(self) -> str:
        """The line where the parser stopped."""
        return self.lines[self.end.line] if self.end.line < len(self.lines) else ""


def explain_yaml_error(error: yaml.YAMLError, text: str) -> Problem:
    """Return the cause of a parser's error, at the place where it can be mended."""
    lines = text.splitlines()
    for number, line in enumerate(lines):
        if CONFLICT.match(line):
            what = "git could not merge this file; keep one side, and no marker"
            return Problem(Place(number, 0), what)
    if isinstance(error, yaml.reader.ReaderError):
        what = f"the character U+{ord(text[error.position]):04X}, which no text holds"
        return Problem(Place.after(text[: error.position]), f"{what}; delete it")
    if not isinstance(error, yaml.MarkedYAMLError):
        return Problem(Place(0, 0), f"no YAML: {error}")
    said = f"{error.context or ''}: {error.problem or ''}"
    end = Place.of(error.problem_mark)
    begin = Place.of(error.context_mark) if error.context_mark else end
    stop = Stop(begin, end, lines)
    if problem := other_space(stop):
        return problem
    for pattern, explain in EXPLANATIONS:
        if re.search(pattern, said):
            return explain(stop)
    return Problem(stop.end, f"no YAML: {error.problem}")


def at_end(what: str) -> Callable[[Stop], Problem]:
    """Return a function that explains what is where the parser stopped."""
    return lambda stop: Problem(stop.end, what)


def at_begin(what: str) -> Callable[[Stop], Problem]:
    """Return a function that explains the value that the parser was reading."""
    return lambda stop: Problem(stop.begin, what)


def second_colon(stop: Stop) -> Problem:
    """Explain a `key:` where none can stand."""
    before = stop.line[: stop.end.column]
    if re.search(r":\s", before):
        return Problem(
            stop.end,
            "a second colon in one line; the keys of a section go on lines of their"
            " own, and a value that holds one goes into quotes",
        )
    above = line_above(stop)
    if above is not None and not re.search(r":(\s|$)", stop.lines[above]):
        return missing_colon(above, stop)
    indent = len(before) - len(before.lstrip())
    return Problem(
        Place(stop.end.line, indent),
        "indented more than the key above it, which has its value already",
    )


def line_above(stop: Stop) -> int | None:
    """Return the number of the last line above that is neither empty nor a comment."""
    for number in range(stop.end.line - 1, -1, -1):
        line = stop.lines[number].strip()
        if line and not line.startswith("#"):
            return number
    return None


def missing_colon(number: int, stop: Stop) -> Problem:
    """Explain a line that is no `key: value`."""
    line = stop.lines[number]
    column = len(line) - len(line.lstrip())
    if line[column:].startswith("-"):
        what = "a list's dash needs a space after it"
    else:
        what = "no colon and space after this key: `key: value`"
    return Problem(Place(number, column), what)


def unfinished_key(stop: Stop) -> Problem:
    """Explain a line without a colon."""
    return missing_colon(stop.begin.line, stop)


def text_after_value(stop: Stop) -> Problem:
    """Explain text after a closing quote or bracket."""
    begun = values_before(stop).ended
    if begun and sign_at(begun, stop) in "[{*":
        return needs_quotes(begun, stop)
    if begun and begun.line < stop.end.line:
        return Problem(begun, f"this quote is closed only on line {stop.end.line + 1}")
    return Problem(
        stop.end,
        "text after a closing quote; put all of the value into quotes, and double a"
        " quote that it holds",
    )


@dataclass
class Values:
    """Where values in quotes or brackets, and references, begin before a place.

    Attributes:
        ended: Where the last value begins that has ended.
        brackets: Where the values in brackets begin that are not closed, the innermost
            last.
    """

    ended: Place | None = None
    brackets: list[Place] = field(default_factory=list)


def values_before(stop: Stop) -> Values:
    """Return the values before the place where the parser stopped."""
    values = Values()
    # The scan ends with the error that is being explained.
    with suppress(yaml.YAMLError):
        for token in yaml.scan("\n".join(stop.lines), Loader=yaml.SafeLoader):
            place = Place.of(token.start_mark)
            if (place.line, place.column) >= (stop.end.line, stop.end.column):
                break
            if isinstance(token, OPENING):
                values.brackets.append(place)
            elif isinstance(token, CLOSING) and values.brackets:
                values.ended = values.brackets.pop()
            elif isinstance(token, yaml.AliasToken) or (
                isinstance(token, yaml.ScalarToken) and token.style in ("'", '"')
            ):
                values.ended = place
    return values


def sign_at(place: Place, stop: Stop) -> str:
    """Return the character at a place, none at the end of a line."""
    line = stop.lines[place.line] if place.line < len(stop.lines) else ""
    return line[place.column : place.column + 1]


def indentation(stop: Stop) -> Problem:
    """Explain a line that begins in another column than the lines above."""
    column = len(stop.line) - len(stop.line.lstrip()) + 1
    return Problem(
        stop.end,
        f"begins in column {column}, unlike the lines above: what belongs together"
        " begins in the same column",
    )


def needs_quotes(place: Place, stop: Stop) -> Problem:
    """Explain a character that means something in YAML."""
    sign = sign_at(place, stop)
    return Problem(place, f"a value that begins with {sign} has to stand in quotes")


def sign_without_quotes(stop: Stop) -> Problem:
    """Explain a character that means something in YAML, where a value begins."""
    return needs_quotes(stop.begin, stop)


def unknown_anchor(stop: Stop) -> Problem:
    """Explain a reference to an anchor that does not exist."""
    found = re.match(r"\*([\w-]+)", stop.line[stop.end.column :])
    name = found[1] if found else ""
    return Problem(
        stop.end,
        f"no value above is marked &{name}; mark it, or put *{name} into quotes if it"
        " is text",
    )


def bracket(stop: Stop) -> Problem:
    """Explain a bracket that is not closed in time."""
    place = ([stop.begin] + values_before(stop).brackets)[-1]
    sign = sign_at(place, stop)
    closing = BRACKETS.get(sign, sign)
    return Problem(
        place,
        f"in what begins with {sign} a comma or the closing {closing} is missing",
    )


def other_space(stop: Stop) -> Problem | None:
    """Explain a character after a key's colon that only looks like a space."""
    above = line_above(stop)
    near = [stop.begin.line, stop.end.line]
    for number in near if above is None else [above, *near]:
        line = stop.lines[number] if number < len(stop.lines) else ""
        if found := OTHER_SPACE_AFTER_KEY.match(line):
            code = f"U+{ord(found[1]):04X}"
            what = f"the space {code} after the colon; write an ordinary one"
            return Problem(Place(number, found.start(1)), what)
    return None


# Patterns of what the parser says, which is what it was reading and what it found. The
# first pattern that matches counts.
EXPLANATIONS: tuple[tuple[str, Callable[[Stop], Problem]], ...] = (
    (r"character '\\t'", at_end("a tab; write spaces")),
    (
        r"quoted scalar: found unexpected end",
        at_begin("this quote is never closed"),
    ),
    (
        r"double-quoted scalar: ",
        at_end("in double quotes \\ begins an escape; write single quotes, or \\\\"),
    ),
    (r"mapping values are not allowed", second_colon),
    (r"could not find expected ':'", unfinished_key),
    (r"expected <block end>, but found '<scalar>'", text_after_value),
    (r"expected (<block end>|'<document start>'), but found", indentation),
    (
        r"sequence entries are not allowed",
        at_end("a list begins on the line after its key, or is written [a, b]"),
    ),
    (
        r"expected the node content, but found ','",
        at_end("nothing stands before this comma"),
    ),
    (r"while parsing a flow", bracket),
    (r"undefined alias", unknown_anchor),
    (r"an alias|an anchor|character '[@`%&*|>!]'|tag", sign_without_quotes),
    (r"single document", at_end("a second document; a settings file has one, no ---")),
    (r"unhashable key", at_begin("a key is a word, nothing in brackets")),
)
