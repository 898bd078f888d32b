"""The steps, and the modules whose code each one's result depends on.

The rules of Snakemake, the stages of DVC and the key of a training go by this. A step
depends on what its module imports, and on what that imports in turn. Left out is what
cannot change a result: see WITHOUT_EFFECT. Of each module counts the text without
comments and docstrings, so these may change and nothing reruns.

It is the text that counts, and not what it compiles to, which differs between versions
of Python: a run must not depend on the machine that continues it.
"""

import hashlib
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

LIBRARY = Path(__file__).parent

# In the order in which they run.
STEPS = (
    "download",
    "fetch",
    "prepare",
    "tokenize",
    "configure",
    "finetune",
    "consolidate",
    "baseline",
    "evaluate",
    "sample",
    "report",
    "publish",
)

# Packages and modules that only check, show, watch or start things. An `__init__.py`
# does not count either, such as that of `retune.settings` with the models of all
# settings: the settings themselves are among a step's params.
WITHOUT_EFFECT = (
    "cli",
    "compat/deepspeed_builds",
    "compat/pytorch_errors",
    "compat/pytorch_extensions",
    "errors",
    "launching",
    "step_code",
    "supervision",
    "terminal",
    "artifacts/memory_shortage",
    "artifacts/verifying",
    "training/rank",
    "training/run_lock",
    "training/unfinished",
    "training/verified_inputs",
)
# The module that words numbers, and the steps whose results are texts for people. No
# other step's result depends on it.
WORDS = "quantities"
STEPS_WITH_WORDS = ("configure", "report", "publish")
# Name of the folder beside modules that holds the templates which these name.
TEMPLATES = "templates"

# String literals without their prefix. They may hold what looks like a comment.
# `re` is several times faster if each alternative begins with a plain character.
TRIPLE_QUOTED = r'"""[^"\\]*(?:(?:\\.|"(?!""))[^"\\]*)*"""'
STRINGS = (
    TRIPLE_QUOTED,
    TRIPLE_QUOTED.replace('"', "'"),
    r'"[^"\\\n]*(?:\\.[^"\\\n]*)*"',
    r"'[^'\\\n]*(?:\\.[^'\\\n]*)*'",
)
COMMENTS = re.compile("|".join([*STRINGS, r"#[^\n]*"]).encode(), re.DOTALL)
# A docstring stands alone on the lines after the colon of a `class` or `def`.
DOCSTRING = rf":\s*\n[ \t]+r?{TRIPLE_QUOTED}[ \t]*(?=\n)"
EMPTY_LINES, TRAILING_SPACES = r"\n\s*(?=\n)", r" +(?=\n)"
WITHOUT_MEANING = re.compile(
    "|".join([*STRINGS, DOCSTRING, EMPTY_LINES, TRAILING_SPACES]).encode(), re.DOTALL
)
DOCSTRING_OF_MODULE = re.compile(rf"\A\s*r?{TRIPLE_QUOTED}\n".encode(), re.DOTALL)

# What only a type checker imports.
TYPE_CHECKING = re.compile(rb"^if TYPE_CHECKING:\n(?:[ \t]+.*\n)+", re.MULTILINE)
IMPORT = re.compile(
    rb"^[ \t]*from (retune(?:\.\w+)*) import (\([^)]*\)|.*)", re.MULTILINE
)


@dataclass(frozen=True)
class Module:
    """What is read from the text of a module.

    Attributes:
        imports: Paths of all modules that it may import, relative to the library and
            without `.py`. Names in modules are among them.
        hash: Hash of the text without comments, docstrings and empty lines, 16 hex
            digits.
    """

    imports: frozenset[str]
    hash: str


def code_files(step: str) -> list[str]:
    """Return the files of the library that a step's result depends on, sorted."""
    seen: set[str] = set()
    todo = {f"steps/{step}"}
    while todo:
        seen |= todo
        todo = {name for module in todo for name in imports_of(module)} - seen
    modules = {name for name in seen if not has_no_effect(name)}
    if step not in STEPS_WITH_WORDS:
        modules -= {WORDS}
    templates = {file for name in modules for file in templates_of(name)}
    return sorted([*(f"{name}.py" for name in modules), *templates])


def templates_of(module: str) -> list[str]:
    """Return the templates beside a module that it names."""
    path = LIBRARY / f"{module}.py"
    templates = (path.parent / TEMPLATES).glob("*")
    return [
        template.relative_to(LIBRARY).as_posix()
        for template in templates
        if f'"{template.name}"'.encode() in path.read_bytes()
    ]


def has_no_effect(module: str) -> bool:
    """Return whether a module, or its whole package, has no effect on results."""
    return any(
        module == name or module.startswith(f"{name}/") for name in WITHOUT_EFFECT
    )


def imports_of(module: str) -> set[str]:
    """Return the modules of the library that one imports, anywhere in it."""
    imports = read_module((LIBRARY / f"{module}.py").read_bytes()).imports
    return {name for name in imports if (LIBRARY / f"{name}.py").exists()}


def hash_code(step: str) -> str:
    """Return what changes with a step's code, whatever the dates of the files say."""
    return hashlib.sha256(list_code(step).encode()).hexdigest()[:16]


def list_code(step: str) -> str:
    """Return a line for each file of a step's code: a hash, and the path."""
    return "".join(f"{hash_file(file)}  {file}\n" for file in code_files(step))


def hash_file(file: str) -> str:
    """Return a hash of a file of the library, 16 hex digits."""
    data = (LIBRARY / file).read_bytes()
    return read_module(data).hash if file.endswith(".py") else short_hash(data)


def short_hash(data: bytes) -> str:
    """Return a hash of bytes, 16 hex digits."""
    return hashlib.sha256(data).hexdigest()[:16]


@cache
def read_module(source: bytes) -> Module:
    """Return what is read from the text of a module."""
    code = without_comments(source)
    return Module(find_imports(code), short_hash(code))


def without_comments(source: bytes) -> bytes:
    """Return a module's text without comments, docstrings and empty lines."""
    code = COMMENTS.sub(only_strings, source + b"\n")
    code = WITHOUT_MEANING.sub(only_strings, code)
    return DOCSTRING_OF_MODULE.sub(b"", code).lstrip(b"\n")


def only_strings(found: re.Match[bytes]) -> bytes:
    """Return a string literal as it is, and nothing of a comment or docstring."""
    text = found[0]
    if text.startswith((b'"', b"'")):
        return text
    return b":" if text.startswith(b":") else b""


def find_imports(code: bytes) -> frozenset[str]:
    """Return what a module's text imports of this library.

    What is imported for type checkers alone does not count: it never runs.
    """
    found = set()
    for module, names in IMPORT.findall(TYPE_CHECKING.sub(b"", code)):
        package = module.decode()
        found |= {package, *(f"{package}.{name}" for name in imported(names.decode()))}
    return frozenset(
        name.removeprefix("retune.").replace(".", "/") for name in found - {"retune"}
    )


def imported(names: str) -> list[str]:
    """Return the names in what follows `import`: `(a, b as c)` has `a` and `b`."""
    return [name.split()[0] for name in names.strip("()").split(",") if name.strip()]
