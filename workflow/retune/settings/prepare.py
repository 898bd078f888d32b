"""The section `prepare`."""

from typing import Annotated

from pydantic import Field, model_validator

from retune.settings.section import Settings, Share

Similarity = Annotated[float, Field(gt=0, le=1)]


class PrepareSettings(Settings):
    """How documents are checked, and split into train, validation and test."""

    min_characters: int = Field(
        20,
        ge=1,
        description="Texts with fewer are rejected; white space at the ends does not"
        " count. Examples may be of any length: `42` is a good answer.",
    )
    max_rejected_share: Share = Field(
        0.05, description="Stop if a larger share of the documents is rejected."
    )
    validation_share: Share = Field(
        0.05,
        description="Share of the groups for validation, if the data has none; above"
        " 0 at least one group.",
    )
    test_share: Share = Field(
        0.05, description="Share of the groups for test, as for validation."
    )
    near_duplicates: Similarity | None = Field(
        None,
        description="Of documents that are at least this similar, from 0 to 1, one"
        " stays: the part of their runs of five words that both have, as MinHash"
        " estimates it. 0.8 is a usual value. Without one, only equal documents go.",
    )
    overlap_words: int = Field(
        13,
        ge=0,
        description="A validation or test text that shares a run of this many words"
        " with train is dropped from it; an example, if half of its answer is such runs"
        " of train's answers, or its whole question is one of train. 0 keeps all.",
    )
    seed: int = Field(0, ge=0, le=2**32 - 1, description="Seed of the split.")

    @model_validator(mode="after")
    def _leave_some_for_train(self) -> "PrepareSettings":
        if self.validation_share + self.test_share >= 1:
            raise ValueError(
                f"validation_share ({self.validation_share}) + test_share"
                f" ({self.test_share}) leave nothing to train on: must be below 1"
            )
        return self
