"""The built-in corpus: the English documentation that ships with Python itself.

Docstrings of the standard library and the texts behind `help("topic")`, read from
the sources without importing them. Doctest blocks stay: they are 4 % of the text
and belong to its sentences.
"""

import ast
import hashlib
import json
import platform
import re
import sysconfig
import unicodedata
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from retune.errors import RetuneError
from retune.settings import PrepareSettings
from retune.text.splits import drop_duplicates, splits_of

MIN_CHARACTERS = 80
TOPICS = "pydoc_data/topics.py"
# Tests, what many installations leave out, and what is not Python's own.
EXCLUDED = frozenset(
    [
        "test",
        "tests",
        "idle_test",
        "idlelib",
        "turtledemo",
        "tkinter",
        "lib2to3",
        "distutils",
        "ensurepip",
        "site-packages",
        "dist-packages",
        "pydoc_data",
        "__pycache__",
    ]
)
EXCLUDED_PREFIXES = ("_sysconfigdata", "config-")
GENERATED = re.compile(rb"gen(win)?codec|Auto-generated|is (automatically )?generated")
GENERATED_WITHIN = 600  # bytes: such notes stand at the top of a file


class Document(NamedTuple):
    """One document; `group` is its top-level package or module, or `topics`."""

    id: str
    group: str
    text: str


@cache
def read_corpus() -> pl.DataFrame:
    """Return id, group and text of every document, sorted by id.

    The same Python version gives the same documents, whatever the machine.
    """
    return read_corpus_of(Path(sysconfig.get_path("stdlib")))


def describe() -> dict[str, Any]:
    """Return where the corpus comes from and the SHA-256 of its ids and texts."""
    corpus = read_corpus()
    digest = hashlib.sha256()
    for document in corpus.select("id", "text").iter_rows():
        digest.update(json.dumps(document).encode() + b"\n")
    return {
        "source": "builtin",
        "python_version": platform.python_version(),
        "documents": len(corpus),
        "corpus_sha256": digest.hexdigest(),
        "licence": "PSF-2.0",
        "attribution": "Documentation of the Python standard library and language"
        " reference, copyright Python Software Foundation",
    }


def training_texts() -> list[str]:
    """Return the texts that `prepare` with its defaults puts into train."""
    settings = PrepareSettings()
    corpus = read_corpus()
    splits = splits_of(
        corpus["group"], settings.seed, settings.validation_share, settings.test_share
    )
    return corpus.filter(splits == "train")["text"].to_list()


def read_corpus_of(folder: Path) -> pl.DataFrame:
    """Return the corpus of the standard library in `folder`."""
    check_sources(folder)
    documents = [*read_docstrings(folder), *read_topics(folder / TOPICS)]
    long_enough = [
        document for document in documents if len(document.text) >= MIN_CHARACTERS
    ]
    schema = dict.fromkeys(Document._fields, pl.String)
    return drop_duplicates(pl.DataFrame(sorted(long_enough), schema, orient="row"))


def check_sources(folder: Path) -> None:
    """Raise RetuneError if the standard library is there without its sources."""
    expected = ("json/decoder.py", TOPICS)
    missing = [path for path in expected if not (folder / path).is_file()]
    if missing:
        raise RetuneError(
            f"dataset.source: builtin reads Python's own sources, but {folder} lacks"
            f" {' and '.join(missing)}: use a full Python installation, or another"
            " dataset.source (hub, local)"
        )


def read_docstrings(folder: Path) -> Iterator[Document]:
    """Yield every docstring of the standard library in `folder`."""
    for path in source_files(folder):
        source = path.read_bytes()
        if GENERATED.search(source[:GENERATED_WITHIN]):
            continue
        relative = path.relative_to(folder)
        group = relative.parts[0].removesuffix(".py")
        times_seen: Counter[str] = Counter()
        for name, text in docstrings_of(parse(path, source)):
            document_id = f"stdlib/{relative.as_posix()}" + (f":{name}" if name else "")
            times_seen[document_id] += 1
            # The setter of a property or the branch of an if may reuse a name.
            if times_seen[document_id] > 1:
                document_id += f"#{times_seen[document_id]}"
            yield Document(document_id, group, clean(text))


def source_files(folder: Path) -> list[Path]:
    """Return the files to read; excluded folders are not even entered."""
    files = []
    for path in folder.iterdir():
        if path.name in EXCLUDED or path.name.startswith(EXCLUDED_PREFIXES):
            continue
        if path.is_dir():
            files += source_files(path)
        elif path.suffix == ".py" and path.stem not in EXCLUDED:
            files.append(path)
    return sorted(files)


def docstrings_of(module: ast.Module) -> Iterator[tuple[str, str]]:
    """Yield the dotted name ("" for the module itself) and text of each docstring."""
    for name, node in [("", module), *definitions_in(module)]:
        text = ast.get_docstring(node)
        if text is not None:
            yield name, text


def definitions_in(
    node: ast.AST, prefix: str = ""
) -> Iterator[tuple[str, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Yield the classes and functions below `node`, at any depth, in file order."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            name = prefix + child.name
            yield name, child
            yield from definitions_in(child, f"{name}.")
        elif isinstance(child, ast.stmt | ast.excepthandler | ast.match_case):
            yield from definitions_in(child, prefix)


def read_topics(path: Path) -> Iterator[Document]:
    """Yield the topics of `pydoc_data`, prose of the language reference."""
    for node in parse(path, path.read_bytes()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "topics":
            for topic, text in ast.literal_eval(node.value).items():
                # One group: the topics quote one another at length.
                yield Document(f"topics/{topic}", "topics", clean(text))


def parse(path: Path, source: bytes) -> ast.Module:
    """Return the syntax tree of a source file."""
    try:
        return ast.parse(source)
    except SyntaxError as error:
        raise RetuneError(
            f"{path}: not readable by Python {platform.python_version()}"
            f" ({error.msg}, line {error.lineno}): mend the Python installation"
        ) from None


def clean(text: str) -> str:
    """Return `text` in NFC without blanks at line ends and around the whole."""
    lines = unicodedata.normalize("NFC", text).splitlines()
    return "\n".join(line.rstrip() for line in lines).strip()
