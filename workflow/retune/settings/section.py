"""What all sections of params.yaml have in common."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

Auto = Literal["auto"]
Count = Annotated[int, Field(ge=1)]
Length = Annotated[int, Field(ge=8)]
Share = Annotated[float, Field(ge=0, le=1)]


def list_or_word(word: str, one: str) -> BeforeValidator:
    """Return a validator of a list of texts, or one word that says how to find it.

    Args:
        word: That word.
        one: What an entry of the list is.
    """

    def as_list(value: Any) -> Any:
        if isinstance(value, str):
            return value if value == word else [value]
        if isinstance(value, list) and all(isinstance(one, str) for one in value):
            return value
        raise ValueError(f"{value!r} should be {one}, a list of these, or {word!r}")

    written = list[str] | Literal[word] | str  # type: ignore[valid-type]
    return BeforeValidator(as_list, json_schema_input_type=written)


class Settings(BaseModel):
    """Base of every section: an unknown key is an error, values are read-only."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def default_of(settings: Settings, key: str) -> Any:
    """Return the default of a field."""
    return type(settings).model_fields[key].default
