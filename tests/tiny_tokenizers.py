"""Tokenizers of every kind, trained in milliseconds."""

from collections.abc import Callable

from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import BPE, Unigram, WordLevel, WordPiece
from tokenizers.trainers import (
    BpeTrainer,
    UnigramTrainer,
    WordLevelTrainer,
    WordPieceTrainer,
)

TEXTS = ["The quick brown fox jumps over the lazy dog.", "A word, and one word more."]
SPECIAL = ["<unk>", "<s>", "</s>"]
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


def byte_level() -> Tokenizer:
    """Every byte is a token."""
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    train(tokenizer, BpeTrainer(special_tokens=SPECIAL, initial_alphabet=alphabet))
    return tokenizer


def looking_words_up() -> Tokenizer:
    """A word that is a token is that one, whatever the merges make of it."""
    tokenizer = Tokenizer(BPE(unk_token="<unk>", ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    train(tokenizer, BpeTrainer(special_tokens=SPECIAL))
    return tokenizer


def byte_level_of_ascii() -> Tokenizer:
    """Only bytes that the training text had are tokens; others are dropped."""
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    train(tokenizer, BpeTrainer(special_tokens=SPECIAL))
    return tokenizer


def byte_fallback() -> Tokenizer:
    """A character that is no token is bytes."""
    tokenizer = Tokenizer(BPE(unk_token="<unk>", byte_fallback=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    train(tokenizer, BpeTrainer(special_tokens=[*SPECIAL, *BYTES]))
    return tokenizer


def bpe_without_unknown() -> Tokenizer:
    """A character that is no token is dropped."""
    return characters(BPE())


def bpe_with_unknown() -> Tokenizer:
    """A character that is no token is the unknown token."""
    return characters(BPE(unk_token="<unk>"))


def bpe_with_fused_unknown() -> Tokenizer:
    """Several characters that are no tokens are one unknown token."""
    return characters(BPE(unk_token="<unk>", fuse_unk=True))


def characters(model: BPE) -> Tokenizer:
    """Return a BPE of characters."""
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    train(tokenizer, BpeTrainer(special_tokens=SPECIAL))
    return tokenizer


def unigram() -> Tokenizer:
    """Pieces with scores, as sentencepiece trains them."""
    tokenizer = Tokenizer(Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = UnigramTrainer(
        vocab_size=60, special_tokens=SPECIAL, unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    return tokenizer


def word_piece() -> Tokenizer:
    """Words in pieces, as BERT has them: a word with a new character is unknown."""
    tokenizer = Tokenizer(WordPiece(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    train(tokenizer, WordPieceTrainer(special_tokens=SPECIAL))
    return tokenizer


def word_level() -> Tokenizer:
    """Whole words."""
    tokenizer = Tokenizer(WordLevel(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    train(tokenizer, WordLevelTrainer(special_tokens=SPECIAL))
    return tokenizer


def digits_in_threes() -> Tokenizer:
    """A byte-level BPE that splits otherwise than GPT-2's, as many models' do."""
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(
                Regex(r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|\s+|[^\s\p{L}\p{N}]+"),
                "isolated",
            ),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    texts = [f"item {number * 7919} costs {number * 104729};" for number in range(300)]
    tokenizer.train_from_iterator(
        texts,
        BpeTrainer(
            vocab_size=900,
            special_tokens=["<|endoftext|>"],
            initial_alphabet=alphabet,
            show_progress=False,
        ),
    )
    return tokenizer


def train(tokenizer: Tokenizer, trainer: object) -> None:
    """Train on TEXTS."""
    trainer.show_progress = False
    tokenizer.train_from_iterator(TEXTS, trainer)


KINDS: dict[str, Callable[[], Tokenizer]] = {
    make.__name__: make
    for make in (
        byte_level,
        looking_words_up,
        byte_level_of_ascii,
        byte_fallback,
        bpe_without_unknown,
        bpe_with_unknown,
        bpe_with_fused_unknown,
        unigram,
        word_piece,
        word_level,
    )
}
