"""Which tokens of a base model stand before and after each document: BOS and EOS."""

from pathlib import Path

from transformers import PreTrainedConfig

from retune.artifacts.publishing import read_json
from retune.errors import RetuneError
from retune.tokens.auto_tokenizer import load_auto_tokenizer
from retune.tokens.tokenizer_json import FILE, read_tokenizer

CONFIG = "tokenizer_config.json"
SPECIAL_TOKENS = "special_tokens_map.json"
KINDS = ("bos", "eos")


def find_bos_eos(folder: Path, config: PreTrainedConfig) -> tuple[int, int]:
    """Return the ids of BOS and EOS.

    The tokenizer's files name them. Where they name no EOS that the tokenizer has, the
    model's config is used, and after it what Transformers knows of the family. A model
    without BOS begins a document with EOS, as GPT-2 was trained to.

    Args:
        folder: Folder of the model.
        config: Config of its text model, as Transformers reads it.

    Raises:
        RetuneError: If nothing names a token that ends a text, or the model lacks it.
    """
    ids = token_ids(folder)
    named = named_tokens(folder)
    of_files = [ids.get(named.get(f"{kind}_token", "")) for kind in KINDS]
    of_config = [first_id(getattr(config, f"{kind}_token_id", None)) for kind in KINDS]
    bos, eos = of_files if of_files[1] is not None else of_config
    if eos is None or eos >= config.vocab_size:
        of_family = [
            ids.get(token) if token else None for token in family_tokens(folder)
        ]
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


def family_tokens(folder: Path) -> list[str | None]:
    """Return the BOS and EOS of a family, which Transformers knows without a file."""
    try:
        auto = load_auto_tokenizer(folder)
    except RetuneError:
        return [None for _ in KINDS]
    return [getattr(auto, f"{kind}_token") for kind in KINDS]


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
        path = folder / file
        for key, token in (read_json(path) if path.exists() else {}).items():
            token = token.get("content") if isinstance(token, dict) else token
            if key.endswith("_token") and isinstance(token, str):
                named[key] = token
    return named


def first_id(value: object) -> int | None:
    """Return the id that a config names, the first one of a list; None if none."""
    if isinstance(value, list) and value:
        return value[0]
    return value if isinstance(value, int) else None
