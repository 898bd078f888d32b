"""Built-in conversations: questions about Python's standard library, with answers.

They are made of its docstrings and of what its sources say: which arguments a function
takes, which classes a class inherits from, what a module offers. How each question is
worded follows from a hash of the name that it is about.
"""

import ast
import builtins
import hashlib
import platform
import sysconfig
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from retune.artifacts.origins import DataOrigin
from retune.examples.example import Conversation, Message
from retune.sources.builtin_corpus import check_sources
from retune.sources.call_arguments import (
    Arguments,
    arguments_of,
    in_words,
    is_empty,
    listed,
)
from retune.sources.docstring_prose import first_sentence, prose_of
from retune.sources.public_names import (
    FunctionNode,
    PublicName,
    decorators_of,
    read_public_names,
)
from retune.sources.topic_methods import read_topic_methods
from retune.sources.whole_sentences import sentence_about, what_it_does, with_subject

SYSTEM_MESSAGES = (
    "You answer questions about Python's standard library, briefly and correctly.",
    "You are a helpful assistant for people who program in Python.",
    "You are a patient teacher of Python. Keep your answers short.",
)
# One conversation of so many has a system message.
WITH_SYSTEM = 20
MAX_LISTED = 12
MAX_SEARCH_CHARACTERS = 110
WHAT_IT_DOES = {
    "module": (
        "What is the module `{name}` for?",
        "What is Python's `{name}` module?",
        "When would I use the `{name}` module?",
    ),
    "class": (
        "What is `{name}`?",
        "What is the class `{name}` for?",
        "Can you explain the class `{name}`?",
    ),
    "function": (
        "What does `{name}` do?",
        "What does the function `{name}` do?",
        "What is `{name}` for?",
        "Can you explain `{name}`?",
        "In Python, what does `{name}` do?",
    ),
    "method": (
        "What does `{name}` do?",
        "What does the method `{name}` do?",
        "What is the method `{name}` for?",
        "What happens when I call `{name}`?",
    ),
    "property": (
        "What is `{name}`?",
        "What does the property `{name}` hold?",
    ),
}
WHICH_ARGUMENTS = (
    "Which arguments does `{name}` take?",
    "What arguments does `{name}` accept?",
    "What can I pass to `{name}`?",
    "What are the arguments of `{name}`?",
)
HOW_TO_CALL = "How do I call it?"
AND_ARGUMENTS = (
    "And which arguments does it take?",
    "Which arguments does it take?",
    "What can I pass to it?",
    HOW_TO_CALL,
)
WHICH_FUNCTION = (
    "Which function of `{module}` {does}?",
    "Is there a function in `{module}` that {does}?",
    "I need something in `{module}` that {does}. What is there?",
)
HOW_TO_IMPORT = (
    "How do I import `{own}` from the standard library?",
    "Where in the standard library is `{own}`?",
    "Which module has `{own}`?",
)
WHICH_BASES = (
    "Which class does `{name}` inherit from?",
    "What is the base class of `{name}`?",
)
WHICH_SEVERAL_BASES = (
    "Which classes does `{name}` inherit from?",
    "What are the base classes of `{name}`?",
)
WHICH_METHODS = (
    "Which methods does `{name}` define?",
    "What methods does the class `{name}` have?",
)
AND_METHODS = (
    "Which methods does it define?",
    "What can I do with it?",
)
WHAT_IS_IN = (
    "Which functions are in `{name}`?",
    "What functions does the module `{name}` offer?",
)

# A question and its answer.
Turn = tuple[str, str]


class BuiltinConversation(NamedTuple):
    """A conversation with its names.

    Attributes:
        id: Name of the conversation, which is unique.
        group: Top-level package or module that it is about.
        conversation: The conversation.
    """

    id: str
    group: str
    conversation: Conversation


@cache
def read_conversations() -> tuple[BuiltinConversation, ...]:
    """Return all conversations, sorted by id.

    The same version of Python gives the same ones on every machine.
    """
    return read_conversations_of(Path(sysconfig.get_path("stdlib")))


def conversations_origin() -> DataOrigin:
    """Return where they come from, with the SHA-256 of their ids and messages."""
    rows = read_conversations()
    digest = hashlib.sha256()
    for row in rows:
        digest.update(f"{row.id}\n{row.conversation.to_json()}\n".encode())
    return DataOrigin(
        source="builtin",
        row_format="messages",
        python_version=platform.python_version(),
        documents=len(rows),
        corpus_sha256=digest.hexdigest(),
        licence="PSF-2.0",
        attribution="Questions made of the documentation of the Python standard"
        " library, copyright Python Software Foundation",
    )


def read_conversations_of(folder: Path) -> tuple[BuiltinConversation, ...]:
    """Return the conversations about the standard library in `folder`, sorted.

    Raises:
        RetuneError: If the folder lacks the library's sources.
    """
    check_sources(folder)
    names = [*read_public_names(folder), *read_topic_methods(folder)]
    rows = (
        BuiltinConversation(row_id, public.package, conversation_of(row_id, turns))
        for public, row_id, turns in all_turns(names)
    )
    return tuple(sorted(rows, key=lambda row: row.id))


def all_turns(names: list[PublicName]) -> Iterator[tuple[PublicName, str, list[Turn]]]:
    """Yield what each conversation is about, its id and its turns."""
    searches = unique_searches(names)
    members = members_by_name(names)
    owners = Counter(public.own_name for public in names)
    classes = {public.name for public in names if public.kind == "class"}
    for public in names:
        summary = summary_of(public)
        arguments = arguments_of(public)
        follow_up = next_turn(public, arguments, members)
        if summary:
            question = worded(WHAT_IT_DOES[public.kind], public.name, name=public.name)
            turns = [(question, summary)]
            # One in three goes on with a second question, which others ask alone.
            if follow_up and chosen(public.name, "turns", 3) == 0:
                turns.append(follow_up[1])
                follow_up = None
            yield public, f"{public.name}:what", turns
        if follow_up and summary:
            yield public, f"{public.name}:more", [follow_up[0]]
        if public.name in searches:
            question = worded(
                WHICH_FUNCTION,
                public.name,
                module=public.module,
                does=searches[public.name],
            )
            yield public, f"{public.name}:which", [(question, found(public, arguments))]
        if is_to_import(public, owners):
            question = worded(HOW_TO_IMPORT, public.name, own=public.own_name)
            yield public, f"{public.name}:import", [(question, imported(public))]
        if turn := turn_of_bases(public, classes):
            yield public, f"{public.name}:bases", [turn]


def conversation_of(row_id: str, turns: list[Turn]) -> Conversation:
    """Return the conversation of some turns, one in twenty with a system message."""
    messages: list[Message] = []
    if chosen(row_id, "system", WITH_SYSTEM) == 0:
        number = chosen(row_id, "message", len(SYSTEM_MESSAGES))
        messages.append({"role": "system", "content": SYSTEM_MESSAGES[number]})
    for question, answer in turns:
        messages.append({"role": "user", "content": question})
        messages.append({"role": "assistant", "content": answer, "train": True})
    return Conversation(tuple(messages))


def summary_of(public: PublicName) -> str:
    """Return what its docstring says at first, in whole sentences; empty if it can't.

    Paragraphs stay apart.
    """
    paragraphs = prose_of(public.docstring, argument_names(public))
    if not paragraphs:
        return ""
    phrase, rest = first_sentence(paragraphs[0])
    sentence = sentence_about(public.name, phrase, public.kind)
    if sentence is None:
        return ""
    return "\n\n".join(
        [
            f"{sentence} {with_subject(rest)}".strip(),
            *(with_subject(text) for text in paragraphs[1:]),
        ]
    )


def argument_names(public: PublicName) -> list[str]:
    """Return the names of its arguments, if it is a function or method."""
    if isinstance(public.node, ast.FunctionDef | ast.AsyncFunctionDef):
        tree = public.node.args
        return [item.arg for item in (*tree.posonlyargs, *tree.args, *tree.kwonlyargs)]
    return []


def next_turn(
    public: PublicName, arguments: Arguments | None, members: dict[str, list[str]]
) -> tuple[Turn, Turn] | None:
    """Return a further question with its answer, alone and after another, or None.

    Args:
        public: What it is about.
        arguments: The arguments that it takes, if they are known.
        members: What each class and module holds.
    """
    name = public.name
    if public.kind in ("class", "module"):
        own = members.get(name, [])
        if not 2 <= len(own) <= MAX_LISTED:
            return None
        answer = f"{listed([f'`{member}`' for member in own])}."
        if public.kind == "module":
            alone = (worded(WHAT_IS_IN, name, name=name), f"It has {answer}")
            return alone, ("Which functions does it have?", f"It has {answer}")
        answer = f"`{name.rpartition('.')[2]}` itself defines {answer}"
        alone = (worded(WHICH_METHODS, name, name=name), answer)
        return alone, (worded(AND_METHODS, name), answer)
    if arguments is None or (is_empty(arguments) and chosen(name, "empty", 6)):
        return None
    asked_alone = worded(WHICH_ARGUMENTS, name, name=name)
    asked_after = worded(AND_ARGUMENTS, name)
    after = in_words("It", arguments)
    if asked_after == HOW_TO_CALL:
        after += f" {call_shown(public, arguments)}"
    return (asked_alone, in_words(f"`{name}`", arguments)), (asked_after, after)


def call_shown(public: PublicName, arguments: Arguments) -> str:
    """Return a sentence with a call, which for a method is one on an object."""
    if public.kind == "method" and not is_of_class(public):
        method = public.name.rpartition(".")[2]
        call = arguments.call_of(f"thing.{method}")
        return f"With `thing` as the object, a call looks like this: `{call}`."
    return f"A call looks like this: `{arguments.call_of(public.name)}`."


def is_of_class(public: PublicName) -> bool:
    """Return whether a method is called on the class itself."""
    return isinstance(public.node, FunctionNode) and bool(
        decorators_of(public.node) & {"classmethod", "staticmethod"}
    )


def members_by_name(names: list[PublicName]) -> dict[str, list[str]]:
    """Return the methods of each class and the functions of each module, by name."""
    members: dict[str, list[str]] = {}
    for public in names:
        if public.kind in ("function", "method"):
            owner, _, own = public.name.rpartition(".")
            members.setdefault(owner, []).append(own)
    return members


def unique_searches(names: list[PublicName]) -> dict[str, str]:
    """Return what each function does, where no other of its module does the same."""
    searches: dict[str, str] = {}
    times: Counter[tuple[str, str]] = Counter()
    for public in names:
        if public.kind != "function":
            continue
        arguments = argument_names(public)
        paragraphs = prose_of(public.docstring, arguments)
        does = what_it_does(first_sentence(paragraphs[0])[0]) if paragraphs else None
        if does and is_clear(does, public, arguments):
            searches[public.name] = does.rstrip(".")
            times[public.module, does] += 1
    modules = {public.name: public.module for public in names}
    return {
        name: does
        for name, does in searches.items()
        if times[modules[name], f"{does}."] == 1
    }


def is_clear(does: str, public: PublicName, arguments: list[str]) -> bool:
    """Return whether a phrase is clear without the function's name and arguments."""
    words = does.replace("`", " ").replace("'", " ").rstrip(".").split()
    names = [*arguments, public.own_name, "this", "this.", "it", "given"]
    return (
        len(words) >= 4
        and len(does) <= MAX_SEARCH_CHARACTERS
        and does.endswith(".")
        and "." not in does[:-1]
        and not any(word in names and word not in ("a", "the") for word in words)
    )


def found(public: PublicName, arguments: Arguments | None) -> str:
    """Return the answer that names a function."""
    if arguments is None:
        return f"`{public.name}` does that."
    return f"`{public.name}` does that. Call it as `{arguments.call_of(public.name)}`."


def is_to_import(public: PublicName, owners: Counter[str]) -> bool:
    """Return whether to ask where a name is: one in three that only one module has."""
    return (
        public.kind in ("class", "function")
        and bool(public.docstring)
        and owners[public.own_name] == 1
        and chosen(public.name, "import", 3) == 0
    )


def imported(public: PublicName) -> str:
    """Return the answer that shows how a name is imported."""
    return (
        f"It is in the module `{public.module}`:\n\n"
        f"```python\nfrom {public.module} import {public.own_name}\n```"
    )


def turn_of_bases(public: PublicName, classes: set[str]) -> Turn | None:
    """Return a question about the classes that a class inherits from.

    Args:
        public: The class.
        classes: Names of all classes.

    Returns:
        None if it is no class, or has a base that is no built-in and no public class
        of its module.
    """
    if not isinstance(public.node, ast.ClassDef) or not public.is_unambiguous:
        return None
    bases = []
    for base in map(ast.unparse, public.node.bases):
        if f"{public.module}.{base}" in classes:
            bases.append(f"`{public.module}.{base}`")
        elif isinstance(getattr(builtins, base, None), type) and base != "object":
            bases.append(f"the built-in `{base}`")
        else:
            return None
    if not bases:
        return None
    answer = f"`{public.name}` inherits from {listed(bases)}."
    templates = WHICH_BASES if len(bases) == 1 else WHICH_SEVERAL_BASES
    return worded(templates, public.name, name=public.name), answer


def worded(templates: tuple[str, ...], key: str, **values: str) -> str:
    """Return one of some wordings, which a hash of the key chooses, filled in."""
    return templates[chosen(key, templates[0], len(templates))].format(**values)


def chosen(key: str, what: str, number: int) -> int:
    """Return a number from 0 to below `number` that a hash of key and purpose gives."""
    digest = hashlib.sha256(f"{what}\0{key}".encode()).digest()
    return int.from_bytes(digest[:4], "big") % number
