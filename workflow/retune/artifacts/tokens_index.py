"""What a folder of tokens holds, and the numbers of it for people."""

from pathlib import Path
from typing import ClassVar, Literal, Self

from retune.artifacts.artifact import Artifact, SealedArtifact
from retune.settings import Split
from retune.settings.tokenize import Packing

INDEX = "tokens.json"


class SplitSize(Artifact):
    """How large a split is.

    Attributes:
        documents: Number of documents.
        sequences: Number of token sequences that they became.
        tokens: Number of tokens, with those that begin and end a document.
        bytes: Number of bytes of the text in UTF-8.
        blocks: Number of blocks that training reads.
    """

    documents: int
    sequences: int
    tokens: int
    bytes: int
    blocks: int


class SourceBlocks(Artifact):
    """The training blocks of one source, which hold nothing of another.

    The blocks of the sources are one after another, in the order of the sources.

    Attributes:
        name: Name of the source, a key of `dataset.sources`.
        documents: Number of its documents in the training split.
        sequences: Number of token sequences that these became.
        blocks: Number of its blocks.
        trained_tokens: Number of tokens that are predicted in them.
    """

    name: str
    documents: int
    sequences: int
    blocks: int
    trained_tokens: int


class TokensIndex(Artifact):
    """What is in data/tokens, beside the binary files of `retune.tokens.store`.

    Attributes:
        format: Format of the folder.
        sequence_length: Tokens per block.
        has_answers: Whether only some of the tokens are trained; otherwise all are.
        packing: How documents fill the blocks.
        vocab_size: Number of tokens that there are; every token is smaller.
        splits: Size of each split.
        sources: The training blocks of each source; empty unless there are
            `dataset.sources`.
        dtype: Data type of a token, as numpy writes it.
        bos_token_id: Token before the first token of a document.
        eos_token_id: Token after the last token of a document.
        tokenizer_sha256: Hex digest of the tokenizer's file.
    """

    STEP: ClassVar = "tokenize"

    format: Literal[2] = 2
    sequence_length: int
    has_answers: bool
    packing: Packing
    vocab_size: int
    splits: dict[Split, SplitSize]
    sources: tuple[SourceBlocks, ...] = ()
    dtype: Literal["<u2", "<u4"]
    bos_token_id: int
    eos_token_id: int
    tokenizer_sha256: str

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Return the index of a folder that `tokenize` wrote.

        Raises:
            RetuneError: If it is damaged, or another version of retune wrote it.
        """
        return cls.from_file(folder / INDEX)

    def write(self, folder: Path) -> None:
        """Write the index into a folder."""
        self.to_file(folder / INDEX)


class Overlong(Artifact):
    """What became of the sequences that are longer than a block.

    Attributes:
        dropped: Number of sequences that were left out, and of the parts of others,
            among them those in which nothing would be learnt.
        truncated: Number of sequences that lost their beginning or their end.
        split: Number of sequences that were cut into several.
    """

    dropped: int = 0
    truncated: int = 0
    split: int = 0


class SplitNumbers(Artifact):
    """The numbers of one split.

    Attributes:
        documents: Number of documents.
        sequences: Number of token sequences that they became.
        tokens: Number of tokens, with those that begin and end a document.
        trained_tokens: Number of tokens that are predicted in the blocks.
        trained_share: Part of the blocks' tokens, without padding, that is predicted.
        blocks: Number of blocks.
        padding_share: Part of the blocks that holds no document.
        overlong: What became of the sequences that are longer than a block.
        left_out_blocks: Number of blocks that `wrap` left out, because nothing in them
            is predicted.
        straddling_tokens: Number of tokens that begin before an answer and end in it;
            they are not trained.
        other_beginnings: Number of sequences in which the chat template begins an
            answer otherwise than the prompt for it says; what both begin with is not
            trained.
        bytes_per_token: Bytes of the text, in UTF-8, per token.
        special_tokens_spelled_out: Number of special tokens that the text spells out.
        lost_characters: Number of characters that the tokenizer cannot represent.
    """

    documents: int
    sequences: int
    tokens: int
    trained_tokens: int
    trained_share: float
    blocks: int
    padding_share: float
    overlong: Overlong = Overlong()
    left_out_blocks: int = 0
    straddling_tokens: int = 0
    other_beginnings: int = 0
    bytes_per_token: float
    special_tokens_spelled_out: int
    lost_characters: int


class TokenMetrics(SealedArtifact):
    """The numbers of the tokens: metrics/tokens.json.

    Attributes:
        format: Format of the file.
        sequence_length: Tokens per block.
        has_answers: Whether only some of the tokens are trained; otherwise all are.
        packing: How documents fill the blocks.
        vocab_size: Number of tokens that there are; every token is smaller.
        splits: Numbers of each split.
        sources: The training blocks of each source; empty unless there are
            `dataset.sources`.
    """

    STEP: ClassVar = "tokenize"

    format: Literal[2] = 2
    sequence_length: int
    has_answers: bool
    packing: Packing
    vocab_size: int
    splits: dict[Split, SplitNumbers]
    sources: tuple[SourceBlocks, ...] = ()
