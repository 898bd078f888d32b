"""What a key of a DeepSpeed config takes, and what DeepSpeed makes of a value."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal[
    "boolean",
    "integer",
    "number",
    "text",
    "choice",
    "list",
    "texts",
    "any",
    "nothing",
]

# Texts that pydantic takes for a boolean, in any case.
TRUE = ("true", "t", "yes", "y", "on", "1")
FALSE = ("false", "f", "no", "n", "off", "0")
WHOLE = re.compile(r"\s*[+-]?\d+(_\d+)*(\.0*)?\s*")


@dataclass(frozen=True)
class Value:
    """What one key takes.

    Attributes:
        kind: The type in JSON; "choice" is one of some texts, "texts" one or a list,
            "nothing" what JSON does not have.
        default: What DeepSpeed takes without the key.
        at_least: Least number.
        above: Number that has to be exceeded.
        at_most: Greatest number.
        below: Number that must not be reached.
        choices: The texts of a choice.
        named: Those of them that are suggested, if not all.
        any_case: Whether a choice may be in capitals.
        null: Whether `null` is a value.
        auto: Whether "auto" is a value like others, and not a gap to be filled.
        infinite: Whether Infinity is a value, which Python writes in JSON.
    """

    kind: Kind
    default: Any = None
    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None
    choices: tuple[str, ...] = ()
    named: tuple[str, ...] = ()
    any_case: bool = False
    null: bool = False
    auto: bool = False
    infinite: bool = False

    def words(self) -> str:
        """Return what the key takes, for people."""
        if self.kind == "choice":
            names = [f'"{choice}"' for choice in self.named or self.choices]
            return " or ".join([", ".join(names[:-1]), names[-1]])
        words = {
            "boolean": "true or false",
            "integer": "an integer",
            "number": "a number",
            "text": "a text",
            "list": "a list",
            "texts": "a text, or a list of texts",
            "any": "any value",
            "nothing": "no value that JSON has: delete it",
        }[self.kind]
        bounds = [
            (self.at_least, "at least"),
            (self.above, "above"),
            (self.at_most, "at most"),
            (self.below, "below"),
        ]
        limits = [f"{word} {limit:g}" for limit, word in bounds if limit is not None]
        return " ".join([words, " and ".join(limits)]).strip()

    def accepts(self, value: Any) -> bool:
        """Return whether DeepSpeed's pydantic models accept a value for this key."""
        if value is None:
            return self.null or self.kind == "any"
        match self.kind:
            case "boolean":
                return as_boolean(value) is not None
            case "integer":
                number = as_number(value)
                whole = not isinstance(value, str) or bool(WHOLE.fullmatch(value))
                return (
                    number is not None
                    and number % 1 == 0
                    and whole
                    and self.has(number)
                )
            case "number":
                if self.infinite and value == math.inf:
                    return True
                number = as_number(value)
                return number is not None and self.has(number)
            case "text":
                return isinstance(value, str)
            case "choice":
                return isinstance(value, str) and self.cased(value) in self.choices
            case "texts":
                return isinstance(value, str | list)
            case "list":
                return isinstance(value, list)
            case "nothing":
                return False
        return True

    def has(self, number: float) -> bool:
        """Return whether a number is within the bounds."""
        return (
            (self.at_least is None or number >= self.at_least)
            and (self.above is None or number > self.above)
            and (self.at_most is None or number <= self.at_most)
            and (self.below is None or number < self.below)
        )

    def cased(self, choice: str) -> str:
        """Return a choice in the case in which it is listed."""
        return choice.lower() if self.any_case else choice

    def converted(self, value: Any) -> Any:
        """Return a value that is accepted as DeepSpeed sees it."""
        if value is None:
            return None
        if self.kind == "boolean":
            return as_boolean(value)
        if self.kind == "choice":
            return self.cased(value)
        if self.kind not in ("integer", "number"):
            return value
        return math.inf if value == math.inf else as_number(value)


def as_boolean(value: Any) -> bool | None:
    """Return the boolean that pydantic reads in a value, or None."""
    if isinstance(value, str):
        text = value.lower()
        return True if text in TRUE else False if text in FALSE else None
    is_number = isinstance(value, bool | int | float)
    return bool(value) if is_number and value in (0, 1) else None


def as_number(value: Any) -> float | None:
    """Return the number that pydantic reads in a value, or None."""
    if not isinstance(value, bool | int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


@dataclass(frozen=True)
class Section:
    """The keys of one object in a DeepSpeed config.

    Attributes:
        keys: What each key takes; a section is an object in the object.
        checked: Whether DeepSpeed reads it with a pydantic model. Such a section
            refuses unknown keys and wrong values, and drops "auto". Any other ignores
            unknown keys, and takes values as they are.
        other_names: Second names of keys, and the first.
        null: Whether `null` is a value.
        more: Whether its keys are not all known here.
    """

    keys: Mapping[str, "Value | Section"] = field(default_factory=dict)
    checked: bool = False
    other_names: Mapping[str, str] = field(default_factory=dict)
    null: bool = False
    more: bool = False


def boolean(default: bool | None, **others: Any) -> Value:
    """Return the value of a key that takes true or false."""
    return Value("boolean", default, **others)


def integer(default: float | None, **others: Any) -> Value:
    """Return the value of a key that takes a whole number, also one like 5e8."""
    return Value("integer", default, **others)


def number(default: float | None, **others: Any) -> Value:
    """Return the value of a key that takes a number."""
    return Value("number", default, **others)


def text(default: str | None = "", **others: Any) -> Value:
    """Return the value of a key that takes a text."""
    return Value("text", default, **others)


def choice(default: str | None, *choices: str, **others: Any) -> Value:
    """Return the value of a key that takes one of some texts."""
    return Value("choice", default, choices=choices, **others)


def anything(default: Any = None, **others: Any) -> Value:
    """Return the value of a key whose values are not looked at."""
    return Value("any", default, **others)
