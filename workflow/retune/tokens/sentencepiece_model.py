"""Writes a sentencepiece model as tokenizer.json, and checks that both encode alike."""

import base64
from pathlib import Path
from types import ModuleType
from typing import Any

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
)

from retune.errors import RetuneError
from retune.tokens.probe_texts import probe_texts
from retune.tokens.tokenizer import ModelTokenizer
from retune.tokens.tokenizer_json import FILE as TOKENIZER

FILE = "tokenizer.model"
SPACE = "▁"  # What sentencepiece writes for a space.
NORMAL, UNKNOWN, CONTROL, USER_DEFINED = 1, 2, 3, 4  # Types of pieces.
OTHER_COPY = "use a copy of the model that has a tokenizer.json"


def convert_sentencepiece(folder: Path) -> None:
    """Write the tokenizer.json of the sentencepiece model in a folder.

    Each rule of the model is built with `tokenizers`, and the result is compared with
    sentencepiece itself on many texts.

    Raises:
        RetuneError: If the file is no sentencepiece model, or has a rule that
            `tokenizers` does not have.
    """
    library, formats = import_sentencepiece()
    path = folder / FILE
    model = formats.ModelProto()
    try:
        model.ParseFromString(path.read_bytes())
        processor = library.SentencePieceProcessor(model_file=str(path))
    except Exception as error:  # Each of the two raises types of its own.
        raise RetuneError(problem_of_format(path)) from error
    build_from_model(model).save(str(folder / TOKENIZER))
    check_same(folder, processor)


def import_sentencepiece() -> tuple[ModuleType, ModuleType]:
    """Return sentencepiece, and its module that reads the file.

    Raises:
        RetuneError: If a package is missing.
    """
    try:
        import sentencepiece
        from sentencepiece import sentencepiece_model_pb2
    except ImportError as error:
        raise RetuneError(
            f"model: its tokenizer is a sentencepiece model ({FILE}), and {error.name}"
            " is not installed: pip install sentencepiece protobuf"
        ) from error
    return sentencepiece, sentencepiece_model_pb2


def problem_of_format(path: Path) -> str:
    """Return what is wrong with a file that is no sentencepiece model."""
    try:
        piece, rank = path.read_bytes().split(b"\n")[0].split()
        base64.b64decode(piece, validate=True)
        int(rank)
    except ValueError:
        return f"model: {FILE} is damaged, or no sentencepiece model: {OTHER_COPY}"
    return (
        f"model: {FILE} is a tiktoken file, which does not say how text is split into"
        f" words: {OTHER_COPY}"
    )


def build_from_model(model: Any) -> Tokenizer:
    """Return a tokenizer by the rules of a sentencepiece model.

    Args:
        model: sentencepiece's `ModelProto`.
    """
    rules, trainer = model.normalizer_spec, model.trainer_spec
    pieces = [(piece.piece, piece.score) for piece in model.pieces]
    unknown = next(i for i, p in enumerate(model.pieces) if p.type == UNKNOWN)
    if trainer.model_type == trainer.UNIGRAM:
        tokenizer = Tokenizer(models.Unigram(pieces, unknown, trainer.byte_fallback))
    elif trainer.model_type == trainer.BPE:
        tokenizer = Tokenizer(
            models.BPE(
                {piece: number for number, (piece, _) in enumerate(pieces)},
                find_merges(model),
                unk_token=pieces[unknown][0],
                fuse_unk=True,
                byte_fallback=trainer.byte_fallback,
            )
        )
    else:
        raise RetuneError(
            f"model: {FILE} is a sentencepiece model of words or characters, and"
            f" neither BPE nor Unigram: {OTHER_COPY}"
        )
    add_special_tokens(tokenizer, model)
    has_user_symbols = any(piece.type == USER_DEFINED for piece in model.pieces)
    steps: list[normalizers.Normalizer] = []
    if rules.precompiled_charsmap:
        steps.append(normalizers.Precompiled(rules.precompiled_charsmap))
    if rules.remove_extra_whitespaces:
        steps += [
            normalizers.Strip(left=True, right=True),
            normalizers.Replace(Regex(" {2,}"), " "),
        ]
    if rules.add_dummy_prefix and has_user_symbols:
        # User symbols divide the text, and only its first part gets the prefix.
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(
            SPACE, prepend_scheme="first", split=False
        )
    elif rules.add_dummy_prefix:
        steps.append(normalizers.Prepend(SPACE))
    steps.append(normalizers.Replace(" ", SPACE))
    tokenizer.normalizer = normalizers.Sequence(steps)
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace(SPACE, " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            *([decoders.Strip(" ", left=1)] if rules.add_dummy_prefix else []),
        ]
    )
    return tokenizer


def find_merges(model: Any) -> list[tuple[str, str]]:
    """Return every pair of pieces that make a third one, the best of these first."""
    scores = {
        piece.piece: piece.score
        for piece in model.pieces
        if piece.type in (NORMAL, USER_DEFINED)
    }
    return [
        (piece[:cut], piece[cut:])
        for piece in sorted(scores, key=lambda piece: -scores[piece])
        for cut in range(1, len(piece))
        if piece[:cut] in scores and piece[cut:] in scores
    ]


def add_special_tokens(tokenizer: Tokenizer, model: Any) -> None:
    """Add control tokens as special ones, and user-defined symbols as whole ones."""
    for piece in model.pieces:
        if piece.type in (CONTROL, UNKNOWN):
            token = AddedToken(piece.piece, normalized=False, special=True)
            tokenizer.add_special_tokens([token])
        elif piece.type == USER_DEFINED:
            tokenizer.add_tokens([AddedToken(piece.piece, normalized=False)])


def check_same(folder: Path, processor: Any) -> None:
    """Raise RetuneError unless tokenizer.json encodes as sentencepiece does."""
    vocab_size = processor.get_piece_size()
    tokenizer = ModelTokenizer(folder, vocab_size, bos_eos=())
    texts = probe_texts(tokenizer.decode, vocab_size)
    found = tokenizer.find_difference(
        texts, tokenizer.encode(texts), [processor.encode(text) for text in texts]
    )
    if found:
        raise RetuneError(
            f"model: {FILE} cannot be written as {TOKENIZER}, which would encode"
            f" {found.document[:40]!r} otherwise than sentencepiece does"
            f" ({found.text}): {OTHER_COPY}"
        )
