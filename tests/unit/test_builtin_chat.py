"""The built-in conversations: true, clean, the same each time."""

import hashlib
import importlib
import inspect
import json
import re
import subprocess
import sys
import sysconfig
from collections import Counter
from pathlib import Path

import pytest

from retune.errors import RetuneError
from retune.settings.params import read_params
from retune.sources import builtin_chat
from retune.sources.builtin_chat import (
    conversations_origin,
    read_conversations,
    read_conversations_of,
)
from retune.sources.call_arguments import arguments_of
from retune.sources.docstring_prose import first_sentence, prose_of
from retune.sources.public_names import decorators_of, read_public_names
from retune.sources.whole_sentences import sentence_about, with_subject

# Modules that are quick to import and do nothing then.
NAMES_OF_MODULES = """
argparse asyncio base64 collections.abc configparser contextlib csv dataclasses difflib
email.message fractions functools heapq html.parser http.client inspect ipaddress json
logging operator os.path pathlib pickle random shlex shutil statistics string tarfile
tempfile textwrap threading traceback unittest urllib.parse xml.etree.ElementTree
zipfile
"""
IMPORTED = frozenset(NAMES_OF_MODULES.split())
# What is written in C lacks it.
ONLY_IN_PYTHON = {"xml.etree.ElementTree.Element.copy"}


@pytest.fixture(scope="module")
def rows():
    return read_conversations()


@pytest.fixture(scope="module")
def names():
    return {
        public.name: public
        for public in read_public_names(Path(sysconfig.get_path("stdlib")))
        if public.module in IMPORTED
    }


@pytest.fixture
def library(tmp_path):
    """A tiny standard library."""
    write(tmp_path / "json/decoder.py", "")
    write(tmp_path / "pydoc_data/topics.py", "topics = {}")
    return tmp_path


def write(path, source):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source, encoding="utf-8")


def turns_by_id(folder):
    return {
        row.id: [
            message["content"]
            for message in row.conversation.messages
            if message["role"] != "system"
        ]
        for row in read_conversations_of(folder)
    }


def test_there_are_some_thousands_of_every_kind(rows):
    kinds = Counter(row.id.rpartition(":")[2] for row in rows)
    assert 4_000 < len(rows) < 7_000
    assert set(kinds) == {"what", "more", "which", "import", "bases"}
    assert min(kinds.values()) > 200
    turns = Counter(row.conversation.num_turns for row in rows)
    assert turns[1] > 3_000
    assert turns[2] > 500
    with_system = sum(bool(row.conversation.system) for row in rows)
    assert 0.03 < with_system / len(rows) < 0.07


def test_ids_are_unique_and_sorted_and_groups_are_packages(rows):
    ids = [row.id for row in rows]
    assert ids == sorted(set(ids))
    assert len({row.group for row in rows}) > 100
    assert {row.group for row in rows if row.id.startswith("os.path.")} == {"os"}


def test_every_answer_is_trained_and_clean(rows):
    for row in rows:
        for message in row.conversation.messages:
            text = message["content"]
            assert text == text.strip()
            assert (message.get("train") is True) == (message["role"] == "assistant")
            assert text[0].isupper() or text[0] == "`", text
            assert text[-1] in ".?!`", text
            assert not re.search(r">>>|\{\w+\}|XXX|[^'] {2}", text), text
            assert text.count("`") % 2 == 0, text


def test_the_same_question_is_not_asked_twice(rows):
    questions = Counter(row.conversation.question for row in rows)
    twice = {question for question, count in questions.items() if count > 1}
    assert len(twice) < 0.01 * len(rows), twice


def test_known_questions_have_good_answers(rows):
    said = {row.id: row.conversation.messages for row in rows}
    answers = {row.id: row.conversation.answer for row in rows}
    assert answers["textwrap.dedent:what"].startswith(
        "`textwrap.dedent` removes any common leading whitespace from every line in"
    )
    dumps = answers["json.dumps:what"] + answers.get("json.dumps:more", "")
    assert "serializes `obj` to a JSON formatted `str`." in dumps
    assert "takes `obj`, and optionally `skipkeys` (default `False`)" in dumps
    assert answers["json.JSONDecodeError:bases"] == (
        "`json.JSONDecodeError` inherits from the built-in `ValueError`."
    )
    assert answers["str.capitalize:what"].startswith("`str.capitalize` returns a copy")
    assert "os.path.join" in said["os.path.join:what"][-2]["content"]


def test_python_itself_agrees_that_the_names_are_there(rows, names):
    asked = {row.id.rpartition(":")[0] for row in rows} & names.keys()
    assert len(asked) > 800
    missing = [name for name in asked if not exists(names[name])]
    assert set(missing) == ONLY_IN_PYTHON


def exists(public):
    try:
        return thing(public) is not None
    except AttributeError:
        return False


def thing(public):
    found = importlib.import_module(public.module)
    if public.kind != "module":
        for part in public.own_name.split("."):
            found = getattr(found, part)
    return found


def test_python_itself_agrees_which_arguments_must_be_given(rows, names):
    checked = 0
    for name in {row.id.removesuffix(":more") for row in rows} & names.keys():
        public = names[name]
        arguments = arguments_of(public)
        if arguments is None or public.kind not in ("function", "method"):
            continue
        try:
            signature = inspect.signature(thing(public))
        except ValueError:  # written in C
            continue
        parameters = list(signature.parameters.values())
        bound = {"classmethod", "staticmethod"} & decorators_of(public.node)
        required = [
            parameter.name
            for parameter in parameters[public.kind == "method" and not bound :]
            if parameter.default is parameter.empty
            and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        ]
        said = [item.name for item in arguments.named if item.is_required]
        assert said == required, name
        checked += 1
    assert checked > 200


def test_they_are_the_same_in_another_process(rows):
    code = (
        "import sys; from retune.sources.builtin_chat import conversations_origin;"
        "print(conversations_origin().corpus_sha256,"
        " [m for m in ('torch', 'turtle', 'idlelib') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={
            "PYTHONPATH": str(Path(builtin_chat.__file__).parents[2]),
            "PYTHONHASHSEED": "5",
        },
    )
    assert done.stdout.strip() == f"{conversations_origin().corpus_sha256} []"


def test_the_origin_pins_them_and_names_the_licence(rows):
    origin = conversations_origin()
    text = "".join(f"{row.id}\n{row.conversation.to_json()}\n" for row in rows)
    assert origin.corpus_sha256 == hashlib.sha256(text.encode()).hexdigest()
    assert (origin.source, origin.licence) == ("builtin", "PSF-2.0")
    assert origin.documents == len(rows)


def test_names_are_those_that_people_import(library):
    write(
        library / "pack/__init__.py",
        "from .inner import Reader, _hidden\nfrom .stars import *\n",
    )
    write(
        library / "pack/inner.py",
        '''
class Reader:
    """A reader of text files."""
    def read(self):
        """Read the whole file."""
    def _private(self):
        """Read what nobody sees."""
def _hidden():
    """Return something hidden."""
def other():
    """Return the other number."""
if __name__ == "__main__":
    def demo():
        """Run the long demonstration."""
''',
    )
    write(
        library / "pack/stars.py",
        '''
__all__ = ["listed"]
def listed():
    """Return the listed names."""
def unlisted():
    """Return the unlisted names."""
''',
    )
    asked = {row_id for row_id in turns_by_id(library) if row_id.endswith(":what")}
    assert asked == {
        "pack.Reader:what",
        "pack.Reader.read:what",
        "pack.inner.other:what",
        "pack.listed:what",
    }


def test_arguments_are_said_as_the_definition_has_them(library):
    write(
        library / "one.py",
        '''
def f(a, b, /, c=None, *more, d, e=_PRIVATE, **options):
    """Return the sum of many numbers."""
''',
    )
    text = " ".join(text for turns in turns_by_id(library).values() for text in turns)
    assert (
        "takes `a`, `b` and `d`, and optionally `c` (default `None`) and `e`." in text
    )
    assert "`d` and `e` can only be passed by keyword." in text
    assert "collected in `*more`" in text
    assert "collected in `**options`" in text


@pytest.mark.parametrize(
    ("phrase", "kind", "expected"),
    [
        ("Return the name.", "function", "`f` returns the name."),
        ("Returns the name.", "function", "`f` returns the name."),
        ("Copy a tree.", "function", "`f` copies a tree."),
        ("Remove and return it.", "function", "`f` removes and returns it."),
        (
            "Open a file and read all of it.",
            "function",
            "Use `f` to open a file and read all of it.",
        ),
        ("A list of names.", "class", "`f` is a list of names."),
        ("A name is asked for.", "class", None),
        ("Base class for servers.", "class", "`f` is the base class for servers."),
        ("Raised when it fails.", "class", "`f` is raised when it fails."),
        ("True if it is open.", "property", "`f` is true if it is open."),
        ("Return value is a string.", "function", None),
        ("Frobnication.", "function", None),
    ],
)
def test_phrases_become_whole_sentences(phrase, kind, expected):
    assert sentence_about("f", phrase, kind) == expected


@pytest.mark.parametrize(
    ("docstring", "expected"),
    [
        ("Return the\nname of it", ["Return the name of it."]),
        ("Return the name.\n\n>>> name()\n'x'", ["Return the name."]),
        ("Return the name:\n\n  a name", []),
        ("f(x) -> the name of x", []),
        ("Use ``x`` and *y* and :func:`z`.", ["Use `x` and `y` and `z`."]),
        ("Return 'arg' and 'other'.", ["Return `arg` and 'other'."]),
        ("Return the name (of it.", []),
        ("Return the name.\n\nArgs:\n    x: A name.", ["Return the name."]),
        ("This is deprecated since long.", []),
        ("Too short", []),
    ],
)
def test_the_prose_of_a_docstring(docstring, expected):
    assert prose_of(docstring, ["arg"]) == expected


def test_a_first_sentence_ends_at_no_abbreviation():
    text = "Copy it, e.g. `x`. Then stop."
    assert first_sentence(text) == ("Copy it, e.g. `x`.", "Then stop.")


def test_later_sentences_say_who_returns():
    text = "Return the name. Raise an error. Return value is x."
    assert with_subject(text) == (
        "It returns the name. It raises an error. Return value is x."
    )


def test_the_short_name_stands_for_conversations():
    dataset = read_params({"dataset": "builtin-chat", "model": "builtin"}).dataset
    assert (dataset.source, dataset.format) == ("builtin", "messages")


def test_a_library_without_sources_is_named(tmp_path):
    with pytest.raises(RetuneError, match="full Python installation"):
        read_conversations_of(tmp_path)


def test_download_writes_them_as_the_settings_say(tmp_path, monkeypatch, library):
    import polars as pl

    from retune.steps import download

    write(library / "one.py", 'def f(a):\n    """Return the name of a."""\n')
    few = read_conversations_of(library)
    monkeypatch.setattr(builtin_chat, "read_conversations", lambda: few)
    settings = {"source": "builtin", "format": "messages", "trained_turns": "last"}
    params = read_params({"dataset": settings, "model": "builtin"})
    download.run(params.dataset, tmp_path / "raw")
    written = pl.read_parquet(tmp_path / "raw/train.parquet")
    assert written.columns == ["id", "group", "example"]
    assert written["group"].to_list() == ["one"] * len(few)
    for line in written["example"]:
        turns = [m for m in json.loads(line)["messages"] if m["role"] == "assistant"]
        assert [turn["train"] for turn in turns] == [
            *[False] * (len(turns) - 1),
            True,
        ]
