"""The tokenizer of a base model: one file says all of it, and every tool reads that."""

import logging
import unicodedata
from pathlib import Path
from typing import Any

from retune.errors import RetuneError
from retune.publishing import read_json, write_json
from retune.sources.sentencepiece_model import FILE as SENTENCEPIECE
from retune.sources.sentencepiece_model import convert_sentencepiece
from retune.tokens.auto_tokenizer import (
    LIBRARY,
    find_other_encoding,
    load_auto_tokenizer,
)
from retune.tokens.probe_texts import probe_texts
from retune.tokens.tokenizer import FILE, ModelTokenizer, read_tokenizer

log = logging.getLogger(__name__)

CONFIG = "tokenizer_config.json"
SPECIAL_TOKENS = "special_tokens_map.json"
# Reads tokenizer.json as it is, in Transformers 4 and 5.
PLAIN_CLASS = "PreTrainedTokenizerFast"
# Transformers 5 writes it, and Transformers 4 does not know it.
NEW_PLAIN_CLASS = "TokenizersBackend"
OTHER_COPY = "use a copy of the model whose tokenizer is a usual one of its family"
MARKS = ("bos", "eos")


def prepare_tokenizer(folder: Path, config: Any) -> tuple[int, int]:
    """Make tokenizer.json what every tool goes by; return the ids of BOS and EOS.

    A tokenizer in an older format is written as tokenizer.json. Where Transformers
    would encode otherwise, because the class that a config names rebuilds parts of the
    tokenizer, tokenizer_config.json is changed so that it does not.

    Args:
        folder: A model's.
        config: The config of its text model, as Transformers reads it.

    Raises:
        RetuneError: If there is no usable tokenizer, or no token that ends a text.
    """
    if not (folder / FILE).exists():
        write_tokenizer_json(folder)
    marks = find_marks(folder, config)
    if not (folder / CONFIG).exists():
        write_config(folder, marks)
    tokenizer = ModelTokenizer(folder, config.vocab_size, marks)
    follow_tokenizer_json(folder, tokenizer, config)
    return marks


def write_tokenizer_json(folder: Path) -> None:
    """Write the tokenizer.json of a tokenizer in an older format."""
    if (folder / SENTENCEPIECE).exists():
        convert_sentencepiece(folder)
    else:
        try:
            load_auto_tokenizer(folder).save_pretrained(folder)
        except RetuneError as error:
            raise RetuneError(f"model: {error}") from error
    if not (folder / FILE).exists():
        raise RetuneError(f"model: its tokenizer cannot be written as {FILE}")


def find_marks(folder: Path, config: Any) -> tuple[int, int]:
    """Return the ids of BOS and EOS.

    The tokenizer's files name them; where they name no EOS that the tokenizer has, the
    model's config does, or else the family. A model without BOS opens a document with
    EOS, as GPT-2 was trained to.

    Raises:
        RetuneError: If nothing names a token that ends a text, or the model lacks it.
    """
    ids = token_ids(folder)
    named = named_tokens(folder)
    of_files = [ids.get(named.get(f"{mark}_token", "")) for mark in MARKS]
    of_config = [first_of(getattr(config, f"{mark}_token_id", None)) for mark in MARKS]
    bos, eos = of_files if of_files[1] is not None else of_config
    if eos is None or eos >= config.vocab_size:
        of_family = [ids.get(token) for token in family_tokens(folder)]
        bos, eos = of_family if of_family[1] is not None else (bos, eos)
    if eos is None:
        raise RetuneError(
            f"model: no eos_token in {CONFIG} and no eos_token_id in config.json, so a"
            " document's end could not be learnt; use a copy of the model that names"
            " its end-of-text token"
        )
    bos = eos if bos is None else bos
    if max(bos, eos) >= config.vocab_size:
        raise RetuneError(
            f"model: its BOS and EOS tokens are {bos} and {eos}, but its vocab_size is"
            f" {config.vocab_size}: tokenizer and model do not belong together"
        )
    return bos, eos


def write_config(folder: Path, marks: tuple[int, int]) -> None:
    """Write a tokenizer_config.json with the marks; each tool would take its own."""
    names = {number: token for token, number in token_ids(folder).items()}
    bos, eos = (names.get(mark) for mark in marks)
    values = {"tokenizer_class": PLAIN_CLASS, "eos_token": eos}
    if bos != eos:
        values["bos_token"] = bos
    write_json(folder / CONFIG, {key: name for key, name in values.items() if name})


def family_tokens(folder: Path) -> list[str | None]:
    """Return what Transformers calls BOS and EOS in a family, though no file does."""
    try:
        auto = load_auto_tokenizer(folder)
    except RetuneError:
        return [None for _ in MARKS]
    return [getattr(auto, f"{mark}_token") for mark in MARKS]


def token_ids(folder: Path) -> dict[str, int]:
    """Return the id of each token of a tokenizer.json."""
    content = read_tokenizer(folder / FILE)
    vocab = content["model"]["vocab"]
    if isinstance(vocab, list):
        vocab = {piece: number for number, (piece, _) in enumerate(vocab)}
    added = content.get("added_tokens") or []
    return {**vocab, **{token["content"]: token["id"] for token in added}}


def named_tokens(folder: Path) -> dict[str, str]:
    """Return the special tokens that the tokenizer's files name."""
    named: dict[str, str] = {}
    for file in (SPECIAL_TOKENS, CONFIG):
        for key, token in read_config(folder / file).items():
            token = token.get("content") if isinstance(token, dict) else token
            if key.endswith("_token") and isinstance(token, str):
                named[key] = token
    return named


def read_config(path: Path) -> dict[str, Any]:
    """Return what a config of the tokenizer says; a missing one says nothing."""
    return read_json(path) if path.exists() else {}


def first_of(value: Any) -> int | None:
    """Return the first id that is given; configs may hold a list of them."""
    if isinstance(value, list) and value:
        return value[0]
    return value if isinstance(value, int) else None


def follow_tokenizer_json(folder: Path, tokenizer: ModelTokenizer, config: Any) -> None:
    """Have AutoTokenizer encode as tokenizer.json says, in Transformers 4 and 5.

    Raises:
        RetuneError: If no config can make it.
    """
    written = read_config(folder / CONFIG)
    values = readable_by_both(written, read_tokenizer(folder / FILE))
    if values != written:
        write_json(folder / CONFIG, values)
    if not (problem := find_problem(folder, tokenizer)):
        return
    log.warning(
        "%s names %s, with which %s; it names %s now",
        *(CONFIG, values.get("tokenizer_class", "no class"), problem, PLAIN_CLASS),
    )
    write_json(folder / CONFIG, {**values, "tokenizer_class": PLAIN_CLASS})
    if problem := find_problem(folder, tokenizer):
        raise RetuneError(
            f"model: {problem}, whatever {CONFIG} says, for a model_type"
            f" {config.model_type}: {OTHER_COPY}"
        )


def find_problem(folder: Path, tokenizer: ModelTokenizer) -> str | None:
    """Return what is wrong with AutoTokenizer's encoding of many texts, if anything."""
    try:
        auto = load_auto_tokenizer(folder)
    except RetuneError as error:
        return str(error)
    # As `prepare` leaves every text: a tokenizer may bring it to this form, too.
    probes = probe_texts(tokenizer.decode, tokenizer.size)
    texts = [unicodedata.normalize("NFC", text) for text in probes]
    names = [repr(text[:40]) for text in texts]
    encoded = tokenizer.encode(texts)
    found = find_other_encoding(auto, tokenizer, names, texts, encoded)
    if not found:
        return None
    return f"{LIBRARY} encodes {found.document} otherwise than {FILE} ({found.text})"


def readable_by_both(
    config: dict[str, Any], tokenizer: dict[str, Any]
) -> dict[str, Any]:
    """Return a tokenizer_config.json that means the same in Transformers 4 and 5."""
    values = dict(config)
    if values.get("tokenizer_class") == NEW_PLAIN_CLASS:
        values["tokenizer_class"] = PLAIN_CLASS
    # A list is the newer form, with which Transformers 4 fails.
    if isinstance(values.get("extra_special_tokens"), list):
        both = [*values.pop("extra_special_tokens")]
        both += values.get("additional_special_tokens") or []
        named = {str(token): token for token in both}
        values["additional_special_tokens"] = list(named.values())
    # Transformers 4 changes the tokenizer where the two disagree.
    words = tokenizer.get("pre_tokenizer") or {}
    prefix = words.get("add_prefix_space")
    if prefix is not None and prefix != values.get("add_prefix_space", False):
        values["add_prefix_space"] = prefix
    return values
