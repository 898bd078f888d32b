"""What people want to see of the tokens: data/tokens/card.json, for the report."""

from pathlib import Path
from typing import ClassVar, Literal, Self

from retune.artifacts.artifact import Artifact
from retune.settings import Split

FILE = "card.json"

# What becomes of a text: the loss counts it, the model only sees it, or no block has
# it.
Use = Literal["trained", "seen", "left_out"]


class Piece(Artifact):
    """Neighbouring tokens of a row that are alike.

    Attributes:
        use: What becomes of them.
        is_special: Whether it is one special token; `text` is then its name.
        begins_part: Whether the row is cut here: the model sees what follows by itself.
        text: The text, or the beginning of it.
        hidden: Number of characters after `text` that are not shown.
        ending: The end of the text, where its middle is not shown.
    """

    use: Use
    is_special: bool = False
    begins_part: bool = False
    text: str
    hidden: int = 0
    ending: str = ""


class ShownRow(Artifact):
    """A row of train as the model sees it.

    Attributes:
        number: Number of the row in its split, from 0.
        tokens: Number of tokens.
        trained_tokens: Number of tokens that the loss counts.
        pieces: The text, piece by piece.
        hidden_tokens: Number of tokens after the last piece, which are not shown.
    """

    number: int
    tokens: int
    trained_tokens: int
    pieces: tuple[Piece, ...]
    hidden_tokens: int = 0


class Lengths(Artifact):
    """How long the token sequences of a split are.

    Attributes:
        shortest: Number of tokens of the shortest.
        median: Median of the numbers of tokens.
        longest: Number of tokens of the longest.
        counts: Number of sequences in each bin, see `TokensCard.bins`.
    """

    shortest: int
    median: float
    longest: int
    counts: tuple[int, ...]


class TokensCard(Artifact):
    """Lengths, scripts and a few rows of a folder of tokens.

    Attributes:
        format: Format of the file.
        sequence_length: Tokens per block.
        bins: Largest length of each bin, in tokens, ascending. The smallest is one more
            than that of the bin before.
        lengths: Lengths of each split that has sequences.
        scripts: Part of the letters in some rows of train that belong to a script, such
            as `Latin`, by script; the most frequent first.
        rows: A few rows of train.
    """

    STEP: ClassVar = "tokenize"

    format: Literal[1] = 1
    sequence_length: int
    bins: tuple[int, ...]
    lengths: dict[Split, Lengths]
    scripts: dict[str, float]
    rows: tuple[ShownRow, ...]

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Return the card of a folder that `tokenize` wrote.

        Raises:
            RetuneError: If it is damaged, or another version of retune wrote it.
        """
        return cls.from_file(folder / FILE)

    def write(self, folder: Path) -> None:
        """Write the card into a folder."""
        self.to_file(folder / FILE)
