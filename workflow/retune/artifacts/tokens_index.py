"""What a folder of tokens holds, and the numbers of it for people."""

from pathlib import Path
from typing import ClassVar, Literal, Self

from retune.artifacts.artifact import Artifact, SealedArtifact
from retune.settings import Split

INDEX = "tokens.json"


class SplitSize(Artifact):
    """How large a split is.

    Attributes:
        documents: Number of documents.
        tokens: Number of tokens, with BOS and EOS of each document.
        bytes: Number of bytes of the text in UTF-8.
    """

    documents: int
    tokens: int
    bytes: int


class TokensIndex(Artifact):
    """What is in data/tokens, beside the binary files of `retune.tokens.store`.

    Attributes:
        format: Format of the folder.
        sequence_length: Tokens per block.
        vocab_size: Number of tokens that there are; every token is smaller.
        splits: Size of each split.
        dtype: Data type of a token, as numpy writes it.
        bos_token_id: Token before the first token of a document.
        eos_token_id: Token after the last token of a document.
        tokenizer_sha256: Hex digest of the tokenizer's file.
    """

    STEP: ClassVar = "tokenize"

    format: Literal[1] = 1
    sequence_length: int
    vocab_size: int
    splits: dict[Split, SplitSize]
    dtype: Literal["<u2", "<u4"]
    bos_token_id: int
    eos_token_id: int
    tokenizer_sha256: str

    def blocks(self, split: Split) -> int:
        """Return the number of blocks of a split; tokens after the last are unused."""
        return self.splits[split].tokens // self.sequence_length

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


class SplitNumbers(Artifact):
    """The numbers of one split.

    Attributes:
        documents: Number of documents.
        tokens: Number of tokens, with BOS and EOS of each document.
        blocks: Number of blocks.
        bytes_per_token: Bytes of the text, in UTF-8, per token.
        special_tokens_spelled_out: Number of special tokens that the text spells out.
        lost_characters: Number of characters that the tokenizer cannot represent.
    """

    documents: int
    tokens: int
    blocks: int
    bytes_per_token: float
    special_tokens_spelled_out: int
    lost_characters: int


class TokenMetrics(SealedArtifact):
    """The numbers of the tokens: metrics/tokens.json.

    Attributes:
        format: Format of the file.
        sequence_length: Tokens per block.
        vocab_size: Number of tokens that there are; every token is smaller.
        splits: Numbers of each split.
    """

    STEP: ClassVar = "tokenize"

    format: Literal[1] = 1
    sequence_length: int
    vocab_size: int
    splits: dict[Split, SplitNumbers]
