"""Makes tokenizer.json the one file that decides how a model's text is encoded."""

import logging
import unicodedata
from pathlib import Path

from transformers import PreTrainedConfig

from retune.artifacts.publishing import read_json, write_json
from retune.compat.transformers_tokenizer_config import PLAIN_CLASS, readable_by_both
from retune.errors import RetuneError
from retune.tokens.auto_tokenizer import (
    LIBRARY,
    find_other_encoding,
    load_auto_tokenizer,
)
from retune.tokens.bos_eos import CONFIG, find_bos_eos, token_ids
from retune.tokens.probe_texts import probe_texts
from retune.tokens.sentencepiece_model import FILE as SENTENCEPIECE
from retune.tokens.sentencepiece_model import convert_sentencepiece
from retune.tokens.tokenizer import ModelTokenizer
from retune.tokens.tokenizer_json import FILE, read_tokenizer

log = logging.getLogger(__name__)

OTHER_COPY = "use a copy of the model whose tokenizer is a usual one of its family"


def prepare_tokenizer(folder: Path, config: PreTrainedConfig) -> tuple[int, int]:
    """Make every tool encode as tokenizer.json says; return the ids of BOS and EOS.

    A tokenizer in an older format is written as tokenizer.json. Where Transformers
    would encode otherwise, because the class that a config names rebuilds parts of the
    tokenizer, tokenizer_config.json is changed so that it does not.

    Args:
        folder: Folder of the model; its tokenizer's files may be written anew.
        config: Config of its text model, as Transformers reads it.

    Raises:
        RetuneError: If there is no usable tokenizer, or no token that ends a text.
    """
    if not (folder / FILE).exists():
        write_tokenizer_json(folder)
    bos_eos = find_bos_eos(folder, config)
    if not (folder / CONFIG).exists():
        write_config(folder, bos_eos)
    tokenizer = ModelTokenizer(folder, config.vocab_size, bos_eos)
    follow_tokenizer_json(folder, tokenizer, config)
    return bos_eos


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


def write_config(folder: Path, bos_eos: tuple[int, int]) -> None:
    """Write a tokenizer_config.json that names BOS and EOS.

    Without it, each tool would take those that it knows of the family.
    """
    names = {number: token for token, number in token_ids(folder).items()}
    bos, eos = (names.get(number) for number in bos_eos)
    values = {"tokenizer_class": PLAIN_CLASS, "eos_token": eos}
    if bos != eos:
        values["bos_token"] = bos
    write_json(folder / CONFIG, {key: name for key, name in values.items() if name})


def follow_tokenizer_json(
    folder: Path, tokenizer: ModelTokenizer, config: PreTrainedConfig
) -> None:
    """Have AutoTokenizer encode as tokenizer.json says, in Transformers 4 and 5.

    Raises:
        RetuneError: If it encodes otherwise whatever tokenizer_config.json says.
    """
    written = read_json(folder / CONFIG)
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
    # `prepare` brings every text to this form, and so may a tokenizer.
    probes = probe_texts(tokenizer.decode, tokenizer.size)
    texts = [unicodedata.normalize("NFC", text) for text in probes]
    names = [repr(text[:40]) for text in texts]
    encoded = tokenizer.encode(texts)
    found = find_other_encoding(auto, tokenizer, names, texts, encoded)
    if not found:
        return None
    return f"{LIBRARY} encodes {found.document} otherwise than {FILE} ({found.text})"
