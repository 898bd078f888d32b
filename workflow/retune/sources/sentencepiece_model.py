"""A sentencepiece model as tokenizer.json, checked against sentencepiece itself."""

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
from retune.tokens.tokenizer import FILE as TOKENIZER
from retune.tokens.tokenizer import ModelTokenizer

FILE = "tokenizer.model"
SPACE = "▁"  # what sentencepiece writes for a blank
NORMAL, UNKNOWN, CONTROL, USER_DEFINED = 1, 2, 3, 4  # types of its pieces
OTHER_COPY = "use a copy of the model that has a tokenizer.json"


def convert_sentencepiece(folder: Path) -> None:
    """Write the tokenizer.json of the sentencepiece model in a folder.

    The model's own rules are built one by one, and the result is compared with what
    sentencepiece makes of many texts.

    Raises:
        RetuneError: If the file is no sentencepiece model, or says what `tokenizers`
            cannot do.
    """
    library, description = import_sentencepiece()
    path = folder / FILE
    model = description.ModelProto()
    try:
        model.ParseFromString(path.read_bytes())
        processor = library.SentencePieceProcessor(model_file=str(path))
    except Exception as error:  # each of the two has its own
        raise RetuneError(describe_other_format(path)) from error
    build(model).save(str(folder / TOKENIZER))
    check_same(folder, processor)


def import_sentencepiece() -> tuple[ModuleType, ModuleType]:
    """Return sentencepiece, and its description of the file.

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


def describe_other_format(path: Path) -> str:
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


def build(model: Any) -> Tokenizer:
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
        # These cut the text in parts, of which the first alone gets the prefix.
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
    """Mark what a text never contains as special, and keep the user's symbols whole."""
    for piece in model.pieces:
        if piece.type in (CONTROL, UNKNOWN):
            token = AddedToken(piece.piece, normalized=False, special=True)
            tokenizer.add_special_tokens([token])
        elif piece.type == USER_DEFINED:
            tokenizer.add_tokens([AddedToken(piece.piece, normalized=False)])


def check_same(folder: Path, processor: Any) -> None:
    """Raise RetuneError unless tokenizer.json encodes as sentencepiece does."""
    vocab_size = processor.get_piece_size()
    tokenizer = ModelTokenizer(folder, vocab_size, marks=())
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
