"""The section `tokenize`."""

from pydantic import Field

from retune.settings.section import Auto, Length, Settings


class TokenizeSettings(Settings):
    """Tokens and blocks."""

    sequence_length: Length | Auto = Field(
        "auto",
        description="Tokens per training sequence; `auto`: the model's context, at most"
        " 2048.",
    )
