"""What all sections of params.yaml have in common."""

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

Auto = Literal["auto"]
Count = Annotated[int, Field(ge=1)]
Length = Annotated[int, Field(ge=8)]
# A data type, as PyTorch names it.
Dtype = Literal["auto", "float32", "bfloat16", "float16"]
Share = Annotated[float, Field(ge=0, le=1)]


def list_or_word(word: str, one: str) -> BeforeValidator:
    """Return a validator of a list of texts, or of one word that stands for a list.

    Args:
        word: The word.
        one: What an entry of the list is, with its article, for messages.
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
    """Base of every section: an unknown key is an error, values are read-only.

    Attributes:
        OPERATIONAL: Keys that say how a step runs and do not change its result. A
            change of one reruns nothing.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    OPERATIONAL: ClassVar[frozenset[str]] = frozenset()

    @classmethod
    def part_of(cls, settings: Self) -> Self:
        """Return the settings that this model has of one derived from it."""
        return cls.model_validate(
            {key: getattr(settings, key) for key in cls.model_fields}
        )

    def decisive(self) -> dict[str, Any]:
        """Return the settings that decide a result, as JSON has them."""
        return self.model_dump(mode="json", exclude=set(self.OPERATIONAL))

    def operational(self) -> dict[str, Any]:
        """Return the settings that decide no result, as JSON has them."""
        return self.model_dump(mode="json", include=set(self.OPERATIONAL))


def default_of(settings: Settings, key: str) -> Any:
    """Return the default of a field."""
    return type(settings).model_fields[key].default
