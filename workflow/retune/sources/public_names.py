"""The public names of Python's standard library: its modules, classes and functions.

They are read from the sources without importing them, so what is written in C is not
among them. A name is public if it does not begin with an underscore and its module's
`__all__`, where there is one, lists it.
"""

import ast
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from retune.sources.builtin_corpus import clean, parsed_files

Kind = Literal["module", "class", "function", "method", "property"]
FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef
Definition = ast.ClassDef | FunctionNode
# Modules that are imported under another name than that of their file.
ALIASES = {
    "_collections_abc": "collections.abc",
    "genericpath": "os.path",
    "posixpath": "os.path",
}
# Modules that say the same as others, or that nobody calls.
UNCALLED = frozenset(["antigravity", "encodings", "nturl2path", "ntpath", "this"])
PROPERTIES = frozenset(["property", "cached_property", "functools.cached_property"])
# Decorators that leave the arguments of a function as they are.
TRANSPARENT = frozenset(
    [
        "abc.abstractmethod",
        "abstractmethod",
        "classmethod",
        "contextlib.contextmanager",
        "contextmanager",
        "functools.lru_cache",
        "staticmethod",
    ]
)


@dataclass(frozen=True)
class PublicName:
    """A public name.

    Attributes:
        name: Name with its module, as in `os.path.join`.
        module: Name of the module that it is imported from, as in `os.path`.
        kind: What it is the name of.
        docstring: Its docstring, dedented; empty if it has none.
        node: Its syntax tree.
        is_unambiguous: Whether its module defines it once.
    """

    name: str
    module: str
    kind: Kind
    docstring: str
    node: ast.Module | Definition
    is_unambiguous: bool = True

    @property
    def package(self) -> str:
        """Its top-level package or module."""
        return self.module.partition(".")[0]

    @property
    def own_name(self) -> str:
        """Its name without that of the module, as in `JSONDecoder.decode`."""
        return self.name.removeprefix(f"{self.module}.")


@dataclass(frozen=True)
class ModuleSource:
    """A module of the standard library.

    Attributes:
        file_name: Dotted name that follows from the file's path.
        tree: Its syntax tree.
    """

    file_name: str
    tree: ast.Module

    @cached_property
    def name(self) -> str:
        """The name under which it is imported."""
        return ALIASES.get(self.file_name, self.file_name)

    @cached_property
    def definitions(self) -> dict[str, list[Definition]]:
        """The public classes and functions at its top level, by name, in order."""
        listed = listed_names(self.tree)
        found: dict[str, list[Definition]] = {}
        for node in definitions_at_top(self.tree):
            if node.name.startswith("_"):
                continue
            if listed is None or node.name in listed:
                found.setdefault(node.name, []).append(node)
        return found


def read_public_names(folder: Path) -> list[PublicName]:
    """Return the public names of the standard library in `folder`, sorted."""
    modules = {module.file_name: module for module in read_modules(folder)}
    exported = exported_names(modules)
    found: dict[str, PublicName] = {}
    for module in modules.values():
        for public in names_in(module, exported):
            found.setdefault(public.name, public)
    return sorted(found.values(), key=lambda public: public.name)


def read_modules(folder: Path) -> Iterator[ModuleSource]:
    """Yield the public modules of the standard library in `folder`."""
    for path, tree in parsed_files(folder):
        parts = path.relative_to(folder).with_suffix("").parts
        dotted = ".".join(parts).removesuffix(".__init__")
        is_private = any(part.startswith("_") for part in dotted.split("."))
        if parts[0] not in UNCALLED and (not is_private or dotted in ALIASES):
            yield ModuleSource(dotted, tree)


def names_in(
    module: ModuleSource, exported: Mapping[tuple[str, str], str]
) -> Iterator[PublicName]:
    """Yield the name of a module and those of what it defines.

    Args:
        module: The module.
        exported: Package that offers a name of a module, by the names of both.
    """
    if module.file_name not in ALIASES:
        yield PublicName(
            module.name, module.name, "module", docstring_of(module.tree), module.tree
        )
    for name, nodes in module.definitions.items():
        home = exported.get((module.file_name, name), module.name)
        node, is_unambiguous = nodes[0], len(nodes) == 1
        kind: Kind = "class" if isinstance(node, ast.ClassDef) else "function"
        dotted = f"{home}.{name}"
        yield PublicName(dotted, home, kind, docstring_of(node), node, is_unambiguous)
        if isinstance(node, ast.ClassDef):
            yield from members_of(node, dotted, home)


def members_of(node: ast.ClassDef, name: str, module: str) -> Iterator[PublicName]:
    """Yield the public methods and properties of a class."""
    members = [member for member in node.body if isinstance(member, FunctionNode)]
    times = Counter(member.name for member in members)
    for member in members:
        decorators = decorators_of(member)
        if member.name.startswith("_") or not decorators <= TRANSPARENT | PROPERTIES:
            continue
        yield PublicName(
            f"{name}.{member.name}",
            module,
            "property" if decorators & PROPERTIES else "method",
            docstring_of(member),
            member,
            times[member.name] == 1,
        )


def exported_names(modules: Mapping[str, ModuleSource]) -> dict[tuple[str, str], str]:
    """Return which package offers a name that one of its modules defines.

    Args:
        modules: The modules, by the names of their files.

    Returns:
        Name of the package, by the name of the module and the name in it: `json`, by
        `json.decoder` and `JSONDecoder`.
    """
    exported: dict[tuple[str, str], str] = {}
    for package, source in modules.items():
        for node in source.tree.body:
            if not isinstance(node, ast.ImportFrom):
                continue
            target = f"{package}.{node.module}" if node.level else f"{node.module}"
            if target not in modules or not target.startswith(f"{package}."):
                continue
            names = [alias.name for alias in node.names if alias.asname is None]
            if names == ["*"]:
                names = list(modules[target].definitions)
            exported |= {
                (target, name): package for name in names if not name.startswith("_")
            }
    return exported


def listed_names(module: ast.Module) -> set[str] | None:
    """Return the names in `__all__`; None if there is none, or it is computed."""
    parts = [part for node in module.body for part in parts_of_all(node)]
    found = [strings_in(part) for part in parts]
    known = [names for names in found if names is not None]
    return set().union(*known) if known and len(known) == len(found) else None


def parts_of_all(node: ast.stmt) -> list[ast.expr | None]:
    """Return what a statement assigns or adds to `__all__`."""
    if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
        target = node.targets[0] if isinstance(node, ast.Assign) else node.target
        return [node.value] if ast.unparse(target) == "__all__" else []
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        changes = ast.unparse(node.value.func) in ("__all__.extend", "__all__.append")
        return [*node.value.args] if changes else []
    return []


def strings_in(node: ast.expr | None) -> set[str] | None:
    """Return the strings that a literal is or holds; None if it is no such literal."""
    try:
        value = ast.literal_eval(node) if node else None
    except ValueError:
        return None
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list | tuple):
        return None
    return set(values) if all(isinstance(text, str) for text in values) else None


def definitions_at_top(module: ast.Module) -> Iterator[Definition]:
    """Yield the classes and functions at a module's top level, also within `if`."""
    pending: list[ast.AST] = list(module.body)
    while pending:
        node = pending.pop(0)
        if isinstance(node, Definition):
            yield node
        elif isinstance(node, ast.If) and "__name__" in ast.unparse(node.test):
            continue
        elif isinstance(node, ast.If | ast.Try | ast.ExceptHandler):
            pending[:0] = list(ast.iter_child_nodes(node))


def decorators_of(node: FunctionNode) -> frozenset[str]:
    """Return the names of a function's decorators, without their arguments."""
    return frozenset(
        ast.unparse(item.func if isinstance(item, ast.Call) else item)
        for item in node.decorator_list
    )


def docstring_of(node: ast.Module | Definition) -> str:
    """Return a docstring, dedented; empty if there is none."""
    return clean(ast.get_docstring(node) or "")
