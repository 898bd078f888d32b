"""The built-in corpus: the English documentation that ships with Python itself.

Docstrings of the standard library and the texts behind `help("topic")`, read from
the sources without importing them. Doctest blocks stay, because they are only 4 % of
the text and its sentences refer to them.
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

import polars as pl

from retune.artifacts.origins import DataOrigin
from retune.errors import RetuneError
from retune.examples.document_kinds import stored_columns
from retune.examples.documents import Document
from retune.examples.duplicates import drop_duplicates
from retune.examples.splits import splits_of
from retune.settings import PrepareSettings

MIN_CHARACTERS = 80
TOPICS = "pydoc_data/topics.py"
# Folders and modules that are not read: tests, what many installations of Python leave
# out, and what does not belong to Python.
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
# The note that a file is generated stands within so many bytes at its top.
GENERATED_WITHIN = 600


@cache
def read_corpus() -> pl.DataFrame:
    """Return id, group and text of every document (strings), sorted by id.

    The group is the document's top-level package or module, or `topics`. The same
    version of Python gives the same documents on every machine.
    """
    return read_corpus_of(Path(sysconfig.get_path("stdlib")))


def corpus_origin() -> DataOrigin:
    """Return where the corpus comes from, with the SHA-256 of its ids and texts."""
    corpus = read_corpus()
    digest = hashlib.sha256()
    for document in corpus.select("id", "text").iter_rows():
        digest.update(json.dumps(document).encode() + b"\n")
    return DataOrigin(
        source="builtin",
        python_version=platform.python_version(),
        documents=len(corpus),
        corpus_sha256=digest.hexdigest(),
        licence="PSF-2.0",
        attribution="Documentation of the Python standard library and language"
        " reference, copyright Python Software Foundation",
    )


def training_texts() -> list[str]:
    """Return the texts that `prepare` puts into train with its default settings."""
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
        document
        for document in documents
        if len(document.content or "") >= MIN_CHARACTERS
    ]
    schema = dict.fromkeys(stored_columns("text"), pl.String)
    return drop_duplicates(pl.DataFrame(sorted(long_enough), schema, orient="row"))


def check_sources(folder: Path) -> None:
    """Raise RetuneError if the standard library in `folder` lacks its sources."""
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
    for path, tree in parsed_files(folder):
        relative = path.relative_to(folder)
        group = relative.parts[0].removesuffix(".py")
        times_seen: Counter[str] = Counter()
        for name, text in docstrings_of(tree):
            document_id = f"stdlib/{relative.as_posix()}" + (f":{name}" if name else "")
            times_seen[document_id] += 1
            # A property's setter has the name of its getter, and both branches of an
            # `if` may define the same name.
            if times_seen[document_id] > 1:
                document_id += f"#{times_seen[document_id]}"
            yield Document(document_id, group, clean(text))


def parsed_files(folder: Path) -> Iterator[tuple[Path, ast.Module]]:
    """Yield path and syntax tree of each file of the standard library in `folder`.

    Generated files are left out.
    """
    for path in source_files(folder):
        source = path.read_bytes()
        if not GENERATED.search(source[:GENERATED_WITHIN]):
            yield path, parse(path, source)


def source_files(folder: Path) -> list[Path]:
    """Return the files to read; excluded folders are not entered."""
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
    """Yield name and node of all classes and functions below a node, in file order."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            name = prefix + child.name
            yield name, child
            yield from definitions_in(child, f"{name}.")
        elif isinstance(child, ast.stmt | ast.excepthandler | ast.match_case):
            yield from definitions_in(child, prefix)


def read_topics(path: Path) -> Iterator[Document]:
    """Yield the topics of `pydoc_data`, which are prose of the language reference."""
    for node in parse(path, path.read_bytes()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "topics":
            for topic, text in ast.literal_eval(node.value).items():
                # All are one group because the topics quote one another at length.
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
    """Return a text in NFC without blanks at the ends of lines and around the whole."""
    lines = unicodedata.normalize("NFC", text).splitlines()
    return "\n".join(line.rstrip() for line in lines).strip()
