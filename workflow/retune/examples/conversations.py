"""Rows that are chats, instructions or preferences, recognized by their columns.

They are not trained on as such; the error for them holds a command that turns them
into a file of texts.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass

from retune.examples.rows import SourceFile
from retune.settings import DatasetSettings
from retune.settings.text_formats import format_of

# Names that public datasets give to a column of chats, of questions, of what goes with
# a question, and of answers.
CHATS = ("messages", "conversations", "conversation", "dialogue", "dialog")
QUESTIONS = ("instruction", "prompt", "question", "query")
CONTEXTS = ("input", "context")
ANSWERS = ("output", "completion", "response", "answer")
# Python for the command: the text of a value, which is a text itself, a list of a
# chat's messages, or a list of the pieces of a message.
SAY = (
    "say = lambda v: v if isinstance(v, str) else '\\n'.join(say(m.get('content') or"
    " m.get('value') or m.get('text')) for m in v or ())"
)
# The builder of `datasets` for a file of each format.
BUILDERS = {
    ".jsonl": "json",
    ".json": "json",
    ".csv": "csv",
    ".parquet": "parquet",
}


@dataclass(frozen=True)
class Conversations:
    """What the rows of a dataset are, if they are no plain texts.

    Attributes:
        kind: Plural noun for the rows, such as `chats`.
        columns: Columns whose values make up the text of a row, in order.
    """

    kind: str
    columns: list[str]


def find_conversations(columns: Collection[str]) -> Conversations | None:
    """Return what rows with these columns are; None if they are no conversations."""
    if chats := [name for name in CHATS if name in columns]:
        return Conversations("chats", chats[:1])
    questions = [name for name in QUESTIONS if name in columns][:1]
    if {"chosen", "rejected"} <= {*columns}:
        return Conversations("preferences", [*questions, "chosen"])
    answers = [name for name in ANSWERS if name in columns][:1]
    if questions and answers:
        contexts = [name for name in CONTEXTS if name in columns]
        return Conversations(
            "instructions with their answers", [*questions, *contexts, *answers]
        )
    return None


def conversion_hint(
    settings: DatasetSettings, columns: Collection[str], file: SourceFile
) -> str | None:
    """Return what the rows are, and the command that makes a text of each.

    Args:
        settings: The section `dataset`.
        columns: Names of all columns in the file.
        file: The file that has the columns.

    Returns:
        None if the rows are no conversations.
    """
    found = find_conversations(columns)
    if not found:
        return None
    code = (
        f"from datasets import load_dataset; {SAY}; {loading_code(settings, file)}"
        ".map(lambda r: {'text': '\\n'.join(filter(None, (say(r[c]) for c in"
        f" {found.columns})))}}).select_columns('text').to_json('texts.jsonl')"
    )
    in_quotes = re.sub(r'([$`"])', r"\\\1", code)
    return (
        f"these are {found.kind}, which are not supported yet; this makes a text of"
        " each, which does not say who speaks, for"
        f' dataset: texts.jsonl\n  python -c "{in_quotes}"'
    )


def loading_code(settings: DatasetSettings, file: SourceFile) -> str:
    """Return Python that loads a local file, or the hub dataset that it belongs to."""
    if settings.source == "hub":
        subset = f", {settings.subset!r}" if settings.subset else ""
        return (
            f"load_dataset({settings.name!r}{subset}, revision={settings.revision!r},"
            " split='train')"
        )
    builder = BUILDERS[format_of(file.path) or ""]
    return f"load_dataset({builder!r}, data_files={str(file.path)!r}, split='train')"
