"""Characters that a tokenizer cannot represent: those it drops or calls unknown."""

import json
import re
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from tokenizers import Encoding, Tokenizer

from retune.tokens.encoded_texts import EncodedTexts

# Characters with every byte that UTF-8 has, of many scripts. A tokenizer of bytes, or
# with bytes to fall back on, represents all of them, and no tokenizer of characters
# does.
PROBE = "".join(
    map(
        chr,
        [
            *range(0x800),
            *range(0x800, 0xD800, 0x400),
            *range(0xE000, 0x10000, 0x400),
            *range(0x10000, 0x110000, 0x10000),
        ],
    )
)
# Stands for a dropped character; no vocabulary has it.
DROPPED = "\U0010fffe"


class LostCharacters:
    """Counts the characters that texts lose when a tokenizer encodes them.

    What a tokenizer changes on purpose before it encodes is not lost: case, accents,
    compatibility forms, white space.
    """

    def __init__(self, model: dict[str, Any], tokenizer: Tokenizer) -> None:
        """Find out whether and how a tokenizer can lose characters.

        Args:
            model: Content of the key `model` of its tokenizer.json.
            tokenizer: The tokenizer.
        """
        self._tokenizer = tokenizer
        self._unknown = unknown_token(model, tokenizer)
        self._drops = (
            self._unknown is None
            and model["type"] == "BPE"
            and not keeps_all(tokenizer, PROBE)
        )
        # With one of these, it also depends on a character's place in its word.
        self._goes_by_place = bool(
            model.get("continuing_subword_prefix") or model.get("end_of_word_suffix")
        )
        self._is_lost: dict[str, bool] = {}
        # Finds a character that may be lost: one that is not known to be kept.
        self._suspect = re.compile("")

    def count(self, texts: Sequence[str], encoded: EncodedTexts) -> Counter[str]:
        """Return how often each lost character occurs in texts.

        Args:
            texts: The texts.
            encoded: Their tokens.
        """
        if self._drops and not self._goes_by_place:
            return self._lost_of(self._texts_that_drop(texts))
        if not self._can_lose:
            return Counter()
        if self._unknown is None:
            return self._lost_of(texts)
        return self._lost_of([texts[n] for n in encoded.texts_with(self._unknown)])

    @cached_property
    def _seeing(self) -> tuple[Tokenizer, int | None]:
        """The tokenizer with a token for what is lost, and the id of that token."""
        if self._drops:
            return with_unknown_token(self._tokenizer)
        return self._tokenizer, self._unknown

    @cached_property
    def _can_lose(self) -> bool:
        may_lose = self._drops or self._unknown is not None
        return may_lose and bool(self._lost_of([PROBE]))

    @cached_property
    def _kept_ascii(self) -> bytes:
        """The characters of ASCII that are kept alone; most texts have no others."""
        lost = self._lost_of(list(map(chr, range(128))))
        return bytes(code for code in range(128) if chr(code) not in lost)

    def _texts_that_drop(self, texts: Sequence[str]) -> list[str]:
        """Return the texts with a character that is dropped where it is alone."""
        number = len(self._is_lost)
        found = [text for text in texts if self._may_drop(taken(self._tokenizer, text))]
        if len(self._is_lost) > number:
            kept = [each for each, is_lost in self._is_lost.items() if not is_lost]
            self._suspect = re.compile(f"[^{re.escape(''.join(kept))}]" if kept else "")
        return found

    def _may_drop(self, text: str) -> bool:
        # A regular expression would take four times as long.
        if text.isascii() and not text.encode().translate(None, self._kept_ascii):
            return False
        if not self._suspect.search(text):
            return False
        characters = set(text)
        for character in characters - self._is_lost.keys():
            self._is_lost[character] = not keeps_all(
                self._tokenizer, character
            ) and bool(self._lost_of([character]))
        return any(self._is_lost[character] for character in characters)

    def _lost_of(self, texts: Sequence[str]) -> Counter[str]:
        lost: Counter[str] = Counter()
        if not texts:
            return lost
        tokenizer, unknown = self._seeing
        encodings = tokenizer.encode_batch(list(texts), add_special_tokens=False)
        for text, encoding in zip(texts, encodings, strict=True):
            places = lost_places(encoding, unknown)
            lost.update(text[place] for place in sorted(places))
        return lost


def lost_places(encoding: Encoding, unknown: int | None) -> set[int]:
    """Return where a text has characters that became the unknown token."""
    places: set[int] = set()
    for position, token in enumerate(encoding.ids):
        if token == unknown and (span := encoding.token_to_chars(position)):
            places.update(range(*span))
    return places


def keeps_all(tokenizer: Tokenizer, text: str) -> bool:
    """Return whether a text's tokens give all of it again."""
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    return tokenizer.decode(ids, skip_special_tokens=False) == taken(tokenizer, text)


def taken(tokenizer: Tokenizer, text: str) -> str:
    """Return a text as a tokenizer takes it: with its case, accents and forms."""
    normalizer = tokenizer.normalizer
    return normalizer.normalize_str(text) if normalizer else text


def unknown_token(model: dict[str, Any], tokenizer: Tokenizer) -> int | None:
    """Return the id of the token for what is unknown, None if there is none."""
    if model["type"] == "Unigram":
        return model.get("unk_id")
    if (name := model.get("unk_token")) is None:
        return None
    return tokenizer.token_to_id(name)


def with_unknown_token(tokenizer: Tokenizer) -> tuple[Tokenizer, int]:
    """Return the same tokenizer with a token for dropped characters, and its id."""
    content = json.loads(tokenizer.to_str())
    vocab = content["model"]["vocab"]
    taken = [*vocab.values(), *(token["id"] for token in content["added_tokens"])]
    dropped = max(taken, default=-1) + 1
    content["model"] |= {
        "vocab": {**vocab, DROPPED: dropped},
        "unk_token": DROPPED,
        "fuse_unk": False,
    }
    seeing = Tokenizer.from_str(json.dumps(content))
    seeing.encode_special_tokens = tokenizer.encode_special_tokens
    return seeing, dropped
