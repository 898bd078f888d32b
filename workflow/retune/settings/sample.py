"""The section `sample`."""

from typing import Annotated

from pydantic import Field

from retune.settings.section import Auto, Settings, list_or_word


class SampleSettings(Settings):
    """What both models write after the same prompts, for people to compare."""

    prompts: Annotated[list[str] | Auto, list_or_word("auto", "a text")] = Field(
        "auto",
        description="Texts that both models continue, or, where the data has"
        " conversations, messages that both answer; `auto`: the first words of three"
        " test documents, or all that comes before the last answer of three test"
        " examples, which the model card then shows.",
    )
    max_new_tokens: int = Field(48, ge=1, description="Tokens per sample.")
    seed: int = Field(
        0, ge=0, le=2**32 - 1, description="Seed of the first prompt's random draw."
    )
