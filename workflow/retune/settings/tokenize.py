"""The section `tokenize`."""

from pydantic import Field

from retune.settings.section import Auto, Length, Settings, Share


class TokenizeSettings(Settings):
    """How the text becomes tokens, and these become training sequences."""

    sequence_length: Length | Auto = Field(
        "auto",
        description="Tokens per training sequence; `auto`: the model's context, at most"
        " 2048.",
    )
    max_lost_share: Share = Field(
        0.01,
        description="Stop if the tokenizer cannot represent a larger share of a split's"
        " characters: it drops them, or makes them its unknown token.",
    )
