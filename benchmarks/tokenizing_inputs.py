"""What the benchmark of `tokenize` reads: base models, texts and conversations.

Texts and conversations are those that are built in, made of Python's documentation, as
often as the size needs; each copy has endings of its own.
"""

import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain, count, islice
from pathlib import Path
from typing import Any, Literal

from retune.artifacts.publishing import write_manifest
from retune.examples.document_writer import write_documents
from retune.examples.documents import Document
from retune.examples.example import Conversation, Message
from retune.settings import ModelSettings
from retune.sources.builtin_chat import read_conversations
from retune.sources.builtin_corpus import read_corpus
from retune.steps import fetch

# Most texts of the corpus that a long conversation is made of, two to a turn.
TEXTS_OF_LONG = 8
HELD_OUT = 100
# Tokens of a block.
LENGTH = 2048


def write_base(folder: Path, model: Path | None) -> None:
    """Write the base model with ChatML: that of a folder, or the built-in one."""
    if model:
        source: dict[str, Any] = {"source": "local", "folder": str(model)}
    else:
        source = {"source": "builtin", "n_positions": LENGTH}
    settings = ModelSettings.model_validate({**source, "chat_template": "chatml"})
    fetch.run(settings, folder)


def write_texts(folder: Path, megabytes: float) -> None:
    """Write the splits of texts that have so many MB."""
    write_splits(folder, up_to(megabytes, texts()), "text")


def write_conversations(folder: Path, conversations: Iterator[Conversation]) -> None:
    """Write the splits of conversations."""
    write_splits(folder, (each.to_json() for each in conversations), "example")


def write_splits(
    folder: Path, contents: Iterator[str], column: Literal["text", "example"]
) -> None:
    """Write a folder as `prepare` writes it; validation and test are small.

    Args:
        folder: Folder to write.
        contents: Texts, or examples as lines of JSON.
        column: `text` or `example`.
    """
    folder.mkdir()
    for split in ("validation", "test", "train"):
        some = contents if split == "train" else islice(contents, HELD_OUT)
        documents = (
            Document(f"{split}:{number}", "python", content)
            for number, content in enumerate(some)
        )
        write_documents(folder / f"{split}.parquet", documents, column)
    write_manifest(folder)


def up_to(megabytes: float, contents: Iterator[str]) -> Iterator[str]:
    """Yield contents until they have so many MB, and those of the held-out splits."""
    yield from islice(contents, 2 * HELD_OUT)
    size = 0.0
    while size < megabytes * 10**6:
        content = next(contents)
        size += len(content.encode())
        yield content


def texts() -> Iterator[str]:
    """Yield the texts of the built-in corpus again and again, with other endings."""
    corpus = read_corpus()["text"].to_list()
    for copy in count():
        for text in corpus:
            yield f"{text} (copy {copy})"


def short_conversations() -> Iterator[Conversation]:
    """Yield the built-in conversations again and again, with other endings."""
    rows = [row.conversation for row in read_conversations()]
    for copy in count():
        for row in rows:
            *messages, last = row.messages
            answer: Message = {**last, "content": f"{last['content']} (copy {copy})"}
            yield replace(row, messages=(*messages, answer))


def long_conversations() -> Iterator[Conversation]:
    """Yield conversations of one to four turns made of texts of the corpus."""
    source = texts()
    for number in count():
        size = 2 + 2 * number % TEXTS_OF_LONG
        pairs = zip(*[islice(source, size)] * 2, strict=True)
        turns: list[list[Message]] = [
            [
                {"role": "user", "content": question},
                {"role": "assistant", "content": answer, "train": True},
            ]
            for question, answer in pairs
        ]
        yield Conversation(tuple(chain.from_iterable(turns)))


def as_rows(conversations: list[Conversation]) -> list[dict[str, list[Message]]]:
    """Return conversations as rows of messages, without marks of what is trained."""
    return [
        {
            "messages": [
                {"role": message["role"], "content": message["content"]}
                for message in conversation.messages
            ]
        }
        for conversation in conversations
    ]


def vocabulary_of(base: Path) -> int:
    """Return the number of tokens of a base model's tokenizer."""
    content = json.loads((base / "tokenizer.json").read_text(encoding="utf-8"))
    added = {token["id"] for token in content["added_tokens"]}
    return len(added | set(content["model"]["vocab"].values()))
