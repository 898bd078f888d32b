"""The section `evaluate`."""

from typing import Annotated

from pydantic import Field, model_validator

from retune.settings.section import Auto, Count, Length, Settings, list_or_word


class EvaluateSettings(Settings):
    """The protocol, the same for the base and the tuned model."""

    context_length: Length | Auto = Field(
        "auto",
        description="Tokens per window; `auto`: the model's context, at most 1024.",
    )
    stride: Count | Auto = Field(
        "auto",
        description="Tokens a window moves on; `auto`: the whole window, as lm-eval"
        " does. Smaller is slower and gives every token more context.",
    )
    batch_size: int = Field(16, ge=1, description="Windows per forward pass.")
    bootstrap_draws: int = Field(
        2000, ge=100, description="Resamples of the documents for the 95 % interval."
    )
    seed: int = Field(
        0, ge=0, le=2**32 - 1, description="Seed of the bootstrap and of the samples."
    )
    prompts: Annotated[list[str] | Auto, list_or_word("auto", "a text")] = Field(
        "auto",
        description="Texts the samples continue; `auto`: the first words of three test"
        " documents, which the model card then shows.",
    )
    max_new_tokens: int = Field(48, ge=1, description="Tokens per sample.")

    @model_validator(mode="after")
    def _check_stride(self) -> "EvaluateSettings":
        lengths = (self.stride, self.context_length)
        if "auto" not in lengths and self.stride > self.context_length:
            raise ValueError(
                f"stride ({self.stride}) must not exceed context_length"
                f" ({self.context_length}): tokens between windows would go unscored"
            )
        return self
