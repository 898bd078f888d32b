"""What to write for rows whose columns have names that no format has."""

import json
import re
from collections.abc import Collection, Iterable

from retune.errors import RetuneError

# Names that public datasets give to a column of chats, of questions, of what goes with
# a question, and of answers.
CHATS = ("conversation", "dialogue", "dialog", "chat", "turns")
QUESTIONS = ("instruction", "prompt", "question", "query", "problem", "input")
CONTEXTS = ("input", "context")
SYSTEMS = ("system", "system_prompt")
ANSWERS = ("output", "completion", "response", "answer", "solution", "target")
PREFERENCE = {"chosen", "rejected"}
# Words that YAML takes for texts without quotes around them.
PLAIN_WORD = re.compile(r"(?!(?:true|false|yes|no|on|off|null|y|n)$)[A-Za-z_]\w*", re.I)


def hint_of(columns: Collection[str]) -> str:
    """Return what to write for rows with these columns."""
    if chats := first_of(CHATS, columns):
        return f"if these are conversations: {columns_line({'messages': chats})}"
    question = first_of(QUESTIONS, columns)
    answer = first_of(ANSWERS, columns)
    if question and answer:
        named = {"instruction": question, "output": answer}
        context = first_of(CONTEXTS, {*columns} - {question})
        if context:
            named["input"] = context
        if system := first_of(SYSTEMS, columns):
            named["system"] = system
        return f"if these are questions with answers: {columns_line(named)}"
    return (
        "name the column of texts by dataset.text_column, or by dataset.columns those"
        " of instruction and output, prompt and completion, or messages"
    )


def first_of(names: Iterable[str], columns: Collection[str]) -> str | None:
    """Return the first of these names that a column has."""
    return next((name for name in names if name in columns), None)


def columns_line(named: dict[str, str]) -> str:
    """Return the setting that names columns, as params.yaml has it in short."""
    renamed = {key: name for key, name in named.items() if key != name} or named
    pairs = [f"{key}: {quoted(name)}" for key, name in renamed.items()]
    return f"dataset.columns: {{{', '.join(pairs)}}}"


def quoted(name: str) -> str:
    """Return a text as YAML has it."""
    return name if PLAIN_WORD.fullmatch(name) else json.dumps(name, ensure_ascii=False)


def is_preference(columns: Collection[str]) -> bool:
    """Return whether rows with these columns say which of two answers is better."""
    return {*columns} >= PREFERENCE


def preference_problem(columns: Collection[str], where: str) -> RetuneError:
    """Return the error for rows that say which of two answers is better."""
    prompt = first_of(QUESTIONS, columns)
    ways = [columns_line({"messages": "chosen"}) + " for conversations"]
    if prompt:
        named = {"prompt": prompt, "completion": "chosen"}
        ways.insert(0, columns_line(named) + " for answers to the prompt")
    return RetuneError(
        f"dataset.format: {where} holds preferences (chosen, rejected), which are not"
        f" trained on; to train on what was chosen alone:\n{', or '.join(ways)}"
    )
