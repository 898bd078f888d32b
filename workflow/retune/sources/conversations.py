"""Rows that are chats, instructions or preferences, and what makes texts of them."""

import re
from collections.abc import Collection

from retune.settings import DatasetSettings
from retune.sources.rows import SourceFile
from retune.sources.text_formats import format_of

CHATS = ("messages", "conversations", "conversation", "dialogue", "dialog")
# What is asked, what may come with it, and what is answered.
QUESTIONS = ("instruction", "prompt", "question", "query")
CONTEXTS = ("input", "context")
ANSWERS = ("output", "completion", "response", "answer")
# A value as text: a text itself, the messages of a chat, or the parts of a message.
SAY = (
    "say = lambda v: v if isinstance(v, str) else '\\n'.join(say(m.get('content') or"
    " m.get('value') or m.get('text')) for m in v or ())"
)
LIBRARY_NAMES = {
    ".jsonl": "json",
    ".json": "json",
    ".csv": "csv",
    ".parquet": "parquet",
}


def describe_conversations(
    settings: DatasetSettings, columns: Collection[str], file: SourceFile
) -> str | None:
    """Return what the rows are and the command that makes a column of text of them.

    Args:
        settings: The section `dataset`.
        columns: Names of all columns.
        file: Where they are.

    Returns:
        None if they are nothing of the kind.
    """
    found = find_conversations(columns)
    if not found:
        return None
    kind, told = found
    code = (
        f"from datasets import load_dataset; {SAY}; {loading(settings, file)}"
        ".map(lambda r: {'text': '\\n'.join(filter(None, (say(r[c]) for c in"
        f" {told})))}}).select_columns('text').to_json('texts.jsonl')"
    )
    in_quotes = re.sub(r'([$`"])', r"\\\1", code)
    return (
        f"these are {kind}, which are not supported yet; this makes a text of each,"
        " which does not say who speaks, for"
        f' dataset: texts.jsonl\n  python -c "{in_quotes}"'
    )


def find_conversations(columns: Collection[str]) -> tuple[str, list[str]] | None:
    """Return what rows with these columns are, and which columns their text is in."""
    if chats := [name for name in CHATS if name in columns]:
        return "chats", chats[:1]
    asked = [name for name in QUESTIONS if name in columns][:1]
    if {"chosen", "rejected"} <= {*columns}:
        return "preferences", [*asked, "chosen"]
    answered = [name for name in ANSWERS if name in columns][:1]
    if asked and answered:
        contexts = [name for name in CONTEXTS if name in columns]
        return "instructions with their answers", [*asked, *contexts, *answered]
    return None


def loading(settings: DatasetSettings, file: SourceFile) -> str:
    """Return the Python that loads a file, or the dataset of the hub that it is of."""
    if settings.source == "hub":
        subset = f", {settings.subset!r}" if settings.subset else ""
        return (
            f"load_dataset({settings.name!r}{subset}, revision={settings.revision!r},"
            " split='train')"
        )
    builder = LIBRARY_NAMES[format_of(file.path) or ""]
    return f"load_dataset({builder!r}, data_files={str(file.path)!r}, split='train')"
