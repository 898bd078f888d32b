"""The section `tokenize`."""

from typing import Literal

from pydantic import Field

from retune.settings.section import Auto, Length, Settings, Share

Packing = Literal["wrap", "best_fit", "none"]
Overlong = Literal["drop", "truncate_left", "truncate_right", "split", "error"]


class TokenizeSettings(Settings):
    """How the text becomes tokens, and these become training sequences."""

    sequence_length: Length | Auto = Field(
        "auto",
        description="Tokens per training sequence; `auto`: the model's context, at most"
        " 2048.",
    )
    packing: Packing | Auto = Field(
        "auto",
        description="How documents fill the sequences. `wrap`: one after another, cut"
        " where a sequence ends; `best_fit`: whole documents, as many as fit; `none`:"
        " one document each. `auto`: `wrap` for texts, `best_fit` for what has answers."
        " Documents never see each other.",
    )
    overlong: Overlong | Auto = Field(
        "auto",
        description="What becomes of a document that is longer than a sequence, unless"
        " `packing` is `wrap`: it is left out, loses its beginning or its end, is cut"
        " into several, or stops the run. `auto`: `split` for texts, `drop` for what"
        " has answers.",
    )
    max_lost_share: Share = Field(
        0.01,
        description="Stop if the tokenizer cannot represent a larger share of a split's"
        " characters: it drops them, or makes them its unknown token.",
    )

    def resolved_packing(self, has_answers: bool) -> Packing:
        """Return `packing`, with what `auto` means.

        Args:
            has_answers: Whether only some of the tokens are trained.
        """
        if self.packing != "auto":
            return self.packing
        return "best_fit" if has_answers else "wrap"

    def resolved_overlong(self, has_answers: bool) -> Overlong:
        """Return `overlong`, with what `auto` means.

        Args:
            has_answers: Whether only some of the tokens are trained.
        """
        if self.overlong != "auto":
            return self.overlong
        return "drop" if has_answers else "split"
