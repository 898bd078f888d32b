"""What other steps must know of a base model, asked of transformers once."""

from pathlib import Path
from typing import Any

from transformers import AutoConfig, AutoTokenizer

from retune.artifacts.model_facts import ModelFacts
from retune.errors import RetuneError

TOKENIZER = "tokenizer.json"


def find_model_facts(folder: Path) -> ModelFacts:
    """Return the facts of the model in a Hugging Face folder.

    Configs leave out what is a family's default (GPT-2's end-of-text token, its
    context), and transformers alone knows those. A model without BOS opens a document
    with EOS, as GPT-2 was trained to. A tokenizer in an older format is written as
    tokenizer.json, too.

    Raises:
        RetuneError: If there is no usable tokenizer or no token that ends a text.
    """
    options = {"trust_remote_code": False, "local_files_only": True}
    config = AutoConfig.from_pretrained(folder, **options).get_text_config()
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, **options)
        if not (folder / TOKENIZER).exists():
            tokenizer.save_pretrained(folder)
    except Exception as error:
        raise RetuneError(
            f"model: its tokenizer cannot be read: {str(error).splitlines()[0]}"
        ) from error
    if not (folder / TOKENIZER).exists():
        raise RetuneError(f"model: its tokenizer cannot be written as {TOKENIZER}")
    eos = first_of(tokenizer.eos_token_id, config.eos_token_id)
    if eos is None:
        raise RetuneError(
            "model: no eos_token in tokenizer_config.json, so a document's end could"
            " not be learnt; use a copy of the model that names its end-of-text token"
        )
    bos = first_of(tokenizer.bos_token_id, eos)
    return ModelFacts(
        vocab_size=config.vocab_size,
        context_length=getattr(config, "max_position_embeddings", None),
        bos_token_id=bos,
        eos_token_id=eos,
    )


def first_of(*ids: Any) -> int | None:
    """Return the first id that is given; configs may hold a list of them."""
    for value in ids:
        if isinstance(value, list) and value:
            return value[0]
        if isinstance(value, int):
            return value
    return None
