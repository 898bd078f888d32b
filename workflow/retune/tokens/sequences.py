"""A document as the model sees it: its tokens, and which of them are trained."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class TokenSequence:
    """Tokens that the model sees by themselves.

    A text or an example becomes one of these. A conversation becomes several where the
    chat template renders an earlier turn otherwise than the last one.

    Attributes:
        ids: The tokens, with those that begin and end the document, int32 [tokens].
        trained: Which tokens the loss counts, bool [tokens]; never the first one.
        straddling: Number of tokens that begin before a trained text and end in it;
            they are not trained.
    """

    ids: np.ndarray
    trained: np.ndarray
    straddling: int = 0
