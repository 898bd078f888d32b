"""What the installed Transformers takes for the tokenizer of a folder."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import transformers
from transformers import AutoTokenizer

from retune.errors import RetuneError
from retune.tokens.tokenizer import Difference, Ids, ModelTokenizer

LIBRARY = f"Transformers {transformers.__version__}"
TEXTS_PER_BATCH = 1000


def load_auto_tokenizer(folder: Path) -> Any:
    """Return the tokenizer as everybody loads it who gets the folder.

    Raises:
        RetuneError: If it does not load.
    """
    try:
        return AutoTokenizer.from_pretrained(
            folder, trust_remote_code=False, local_files_only=True
        )
    except Exception as error:  # each class has its own
        reason = (str(error).splitlines() or [repr(error)])[0]
        raise RetuneError(
            f"its tokenizer cannot be read by {LIBRARY}: {reason}"
        ) from error


def find_other_encoding(
    auto: Any,
    tokenizer: ModelTokenizer,
    names: Sequence[str],
    texts: Sequence[str],
    encoded: Iterable[Ids],
) -> Difference | None:
    """Return the first text that Transformers' tokenizer encodes otherwise than ours.

    Left out, where special tokens are text, are texts that spell one out: by itself,
    Transformers makes a special token of it.

    Args:
        auto: Theirs.
        tokenizer: Ours.
        names: What to call each text.
        texts: The texts.
        encoded: Our tokens of each.
    """
    rows = [
        (name, text, ids)
        for name, text, ids in zip(names, texts, encoded, strict=True)
        if not (
            tokenizer.splits_special_tokens and tokenizer.count_special_tokens(text)
        )
    ]
    for first in range(0, len(rows), TEXTS_PER_BATCH):
        part = rows[first : first + TEXTS_PER_BATCH]
        others = auto(
            [text for _, text, _ in part],
            add_special_tokens=False,
            split_special_tokens=tokenizer.splits_special_tokens,
            return_attention_mask=False,
            verbose=False,
        )["input_ids"]
        found = tokenizer.find_difference(
            [name for name, _, _ in part], [ids for _, _, ids in part], others
        )
        if found:
            return found
    return None
