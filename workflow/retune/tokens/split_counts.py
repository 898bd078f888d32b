"""What is counted while the tokens of a split are written."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from retune.tokens.encoded_texts import EncodedTexts
from retune.tokens.tokenizer import ModelTokenizer


@dataclass
class SourceCounts:
    """What a split holds of one source.

    Attributes:
        name: Name of the source.
        documents: Number of its documents.
        sequences: Number of token sequences that they became.
    """

    name: str
    documents: int = 0
    sequences: int = 0


@dataclass
class SplitCounts:
    """What is counted while a split is written.

    Attributes:
        documents: Number of documents.
        sequences: Number of token sequences that they became.
        tokens: Number of tokens, with those that begin and end a document.
        bytes: Size of the text in UTF-8.
        characters: Number of characters of the text.
        special_tokens: Number of special tokens that the text spells out.
        straddling: Number of tokens that begin before an answer and end in it.
        other_beginnings: Number of sequences in which the chat template begins an
            answer otherwise than the prompt for it says.
        lost: Characters that the tokenizer cannot represent -> number of occurrences.
        sources: What each source has, in order; empty unless there are several.
    """

    documents: int = 0
    sequences: int = 0
    tokens: int = 0
    bytes: int = 0
    characters: int = 0
    special_tokens: int = 0
    straddling: int = 0
    other_beginnings: int = 0
    lost: Counter[str] = field(default_factory=Counter)
    sources: list[SourceCounts] = field(default_factory=list)

    def add_texts(
        self, texts: Sequence[str], encoded: EncodedTexts, tokenizer: ModelTokenizer
    ) -> None:
        """Count what documents say, and what is lost of it.

        Args:
            texts: All that each document says.
            encoded: The tokens of the documents.
            tokenizer: The tokenizer that encoded them.
        """
        self.documents += len(texts)
        self.bytes += sum(map(size_of, texts))
        self.characters += sum(map(len, texts))
        self.special_tokens += sum(map(tokenizer.count_special_tokens, texts))
        self.lost += tokenizer.lost_characters.count(texts, encoded)

    def add_sources(self, names: Sequence[str], sequences: Sequence[int]) -> None:
        """Count documents by source; those of a source are all together.

        Args:
            names: Source of each document.
            sequences: Number of sequences that each document became.
        """
        for name, number in zip(names, sequences, strict=True):
            if not self.sources or self.sources[-1].name != name:
                is_new = all(source.name != name for source in self.sources)
                assert is_new, f"documents of {name} are not all together"
                self.sources.append(SourceCounts(name))
            self.sources[-1].documents += 1
            self.sources[-1].sequences += number


def size_of(text: str) -> int:
    """Return the number of bytes of a text in UTF-8."""
    return len(text) if text.isascii() else len(text.encode())
