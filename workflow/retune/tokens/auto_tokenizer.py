"""The tokenizer that the installed Transformers loads from a folder."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import transformers
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from retune.errors import RetuneError
from retune.tokens.tokenizer import Difference, Ids, ModelTokenizer

LIBRARY = f"Transformers {transformers.__version__}"
TEXTS_PER_BATCH = 1000


def load_auto_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Return the tokenizer that AutoTokenizer loads for whoever has the folder.

    Raises:
        RetuneError: If it does not load.
    """
    try:
        return AutoTokenizer.from_pretrained(
            folder, trust_remote_code=False, local_files_only=True
        )
    except Exception as error:  # Each tokenizer class raises types of its own.
        reason = (str(error).splitlines() or [repr(error)])[0]
        raise RetuneError(
            f"its tokenizer cannot be read by {LIBRARY}: {reason}"
        ) from error


def find_other_encoding(
    auto: PreTrainedTokenizerBase,
    tokenizer: ModelTokenizer,
    names: Sequence[str],
    texts: Sequence[str],
    encoded: Iterable[Ids],
) -> Difference | None:
    """Return the first text that Transformers' tokenizer encodes otherwise than ours.

    Where special tokens in a text are text, texts that spell one out are not compared:
    Transformers makes a special token of it by default.

    Args:
        auto: Transformers' tokenizer.
        tokenizer: Our tokenizer.
        names: Name of each text, for a message.
        texts: The texts.
        encoded: Tokens of each text, from our tokenizer.
    """
    rows = [
        (name, text, ids)
        for name, text, ids in zip(names, texts, encoded, strict=True)
        if not (
            tokenizer.splits_special_tokens and tokenizer.count_special_tokens(text)
        )
    ]
    for first in range(0, len(rows), TEXTS_PER_BATCH):
        batch = rows[first : first + TEXTS_PER_BATCH]
        others = auto(
            [text for _, text, _ in batch],
            add_special_tokens=False,
            split_special_tokens=tokenizer.splits_special_tokens,
            return_attention_mask=False,
            verbose=False,
        )["input_ids"]
        found = tokenizer.find_difference(
            [name for name, _, _ in batch], [ids for _, _, ids in batch], others
        )
        if found:
            return found
    return None
