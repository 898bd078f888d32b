"""The section `evaluate`."""

from typing import ClassVar

from pydantic import Field, model_validator

from retune.settings.section import Auto, Count, Dtype, Length, Settings


class PrecisionSettings(Settings):
    """The data type in which models are evaluated, and write samples."""

    dtype: Dtype = Field(
        "auto",
        description="Data type in which both models compute; `auto`: that of the base"
        " model's files on GPUs that compute it fast, else float32.",
    )


class ScoringSettings(PrecisionSettings):
    """What decides the scores of a model, the base model's like the tuned one's."""

    OPERATIONAL: ClassVar = frozenset({"batch_size"})

    context_length: Length | Auto = Field(
        "auto",
        description="Tokens per window; `auto`: the model's context, at most 1024.",
    )
    stride: Count | Auto = Field(
        "auto",
        description="Tokens a window moves on; `auto`: the whole window, as lm-eval"
        " does. Smaller is slower and gives every token more context.",
    )
    exact_match_examples: int = Field(
        100,
        ge=0,
        description="Test examples, of those whose answer has at most 40 characters,"
        " that both models answer, to count how often they say exactly what the data"
        " has. `0`: none. Texts have no answers.",
    )
    batch_size: int = Field(16, ge=1, description="Windows per forward pass.")

    @model_validator(mode="after")
    def _check_stride(self) -> "ScoringSettings":
        stride, length = self.stride, self.context_length
        if stride != "auto" and length != "auto" and stride > length:
            raise ValueError(
                f"stride ({stride}) must not exceed context_length ({length}):"
                " tokens between windows would go unscored"
            )
        return self


class EvaluateSettings(ScoringSettings):
    """How both models are scored, and how sure the change is."""

    bootstrap_draws: int = Field(
        2000, ge=100, description="Resamples of the documents for the 95 % interval."
    )
    seed: int = Field(0, ge=0, le=2**32 - 1, description="Seed of the bootstrap.")
