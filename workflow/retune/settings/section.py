"""What all sections of params.yaml have in common."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Auto = Literal["auto"]
Count = Annotated[int, Field(ge=1)]
Length = Annotated[int, Field(ge=8)]
Share = Annotated[float, Field(ge=0, le=1)]


class Settings(BaseModel):
    """Base of every section: an unknown key is an error, values are read-only."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def default_of(settings: Settings, key: str) -> Any:
    """Return the default of a field."""
    return type(settings).model_fields[key].default
