"""What arguments a function takes, in words, from its syntax tree."""

import ast
from dataclasses import dataclass

from retune.sources.public_names import (
    TRANSPARENT,
    FunctionNode,
    PublicName,
    decorators_of,
)

MAX_DEFAULT_CHARACTERS = 24
MAX_ARGUMENTS = 12


@dataclass(frozen=True)
class Argument:
    """An argument of a function.

    Attributes:
        name: Its name.
        is_required: Whether a call must give it.
        default: Its default value as source text; empty if it has none, or none that
            means something outside of its module.
        by_keyword: Whether only its name can pass it.
    """

    name: str
    is_required: bool
    default: str = ""
    by_keyword: bool = False


@dataclass(frozen=True)
class Arguments:
    """The arguments of a function.

    Attributes:
        named: Those that have a name, in order.
        further: Name of the one that takes further positional arguments, or empty.
        keywords: Name of the one that takes further keyword arguments, or empty.
    """

    named: tuple[Argument, ...]
    further: str = ""
    keywords: str = ""

    def call_of(self, name: str) -> str:
        """Return a call of the function with the arguments that it must have."""
        given = [
            f"{argument.name}={argument.name}" if argument.by_keyword else argument.name
            for argument in self.named
            if argument.is_required
        ]
        return f"{name}({', '.join(given)})"


def arguments_of(public: PublicName) -> Arguments | None:
    """Return the arguments of a function or method, or those of a class's constructor.

    Returns:
        None if the name has no call, or if its arguments are not certain: it is
        defined twice, decorated, or made by a metaclass.
    """
    node = public.node
    if not public.is_unambiguous or public.kind in ("module", "property"):
        return None
    if isinstance(node, ast.ClassDef):
        constructor = constructor_of(node)
        return of_node(constructor, 1) if constructor else None
    if not isinstance(node, FunctionNode) or not decorators_of(node) <= TRANSPARENT:
        return None
    is_bound = public.kind == "method" and "staticmethod" not in decorators_of(node)
    return of_node(node, int(is_bound))


def constructor_of(node: ast.ClassDef) -> FunctionNode | None:
    """Return `__init__` of a class, or None if it alone does not say how to call."""
    methods = [member for member in node.body if isinstance(member, FunctionNode)]
    named = [member for member in methods if member.name in ("__init__", "__new__")]
    if node.keywords or node.decorator_list or len(named) != 1:
        return None
    return named[0] if named[0].name == "__init__" else None


def of_node(node: FunctionNode, num_bound: int) -> Arguments | None:
    """Return the arguments of a function without the first, which are bound.

    Returns:
        None if they are too many for a sentence, or any is private.
    """
    tree = node.args
    positional = [*tree.posonlyargs, *tree.args]
    if len(positional) < num_bound:
        return None
    defaults = [*[None] * (len(positional) - len(tree.defaults)), *tree.defaults]
    named = [
        Argument(argument.arg, default is None, shown(default))
        for argument, default in zip(positional, defaults, strict=True)
    ][num_bound:]
    named += [
        Argument(argument.arg, default is None, shown(default), by_keyword=True)
        for argument, default in zip(tree.kwonlyargs, tree.kw_defaults, strict=True)
    ]
    if len(named) > MAX_ARGUMENTS or any(item.name.startswith("_") for item in named):
        return None
    return Arguments(
        tuple(named),
        tree.vararg.arg if tree.vararg else "",
        tree.kwarg.arg if tree.kwarg else "",
    )


def shown(default: ast.expr | None) -> str:
    """Return a default value as source text, if it means something to a reader."""
    if default is None:
        return ""
    try:
        ast.literal_eval(default)
    except ValueError:
        return ""
    text = ast.unparse(default)
    return text if len(text) <= MAX_DEFAULT_CHARACTERS else ""


def in_words(name: str, arguments: Arguments) -> str:
    """Return which arguments a function takes, as sentences.

    Args:
        name: What the sentences are about, such as `It`.
        arguments: The arguments.
    """
    required = [item for item in arguments.named if item.is_required]
    optional = [item for item in arguments.named if not item.is_required]
    takes = listed([f"`{item.name}`" for item in required])
    options = listed([option(item) for item in optional])
    if takes and options:
        text = f"{name} takes {takes}, and optionally {options}."
    elif takes or options:
        text = f"{name} takes {takes or f'only optional arguments: {options}'}."
    elif arguments.further or arguments.keywords:
        text = f"{name} has no arguments with fixed names."
    else:
        text = f"{name} takes no arguments."
    keyword = [f"`{item.name}`" for item in arguments.named if item.by_keyword]
    if keyword:
        text += f" {listed(keyword)} can only be passed by keyword."
    if arguments.further:
        text += f" Further positional arguments are collected in `*{arguments.further}`"
        text += "."
    if arguments.keywords:
        text += f" Other keyword arguments are collected in `**{arguments.keywords}`."
    return text


def option(argument: Argument) -> str:
    """Return the name of an optional argument with its default value."""
    default = f" (default `{argument.default}`)" if argument.default else ""
    return f"`{argument.name}`{default}"


def listed(texts: list[str]) -> str:
    """Return such as `a, b and c`."""
    if len(texts) < 2:
        return "".join(texts)
    return f"{', '.join(texts[:-1])} and {texts[-1]}"


def is_empty(arguments: Arguments) -> bool:
    """Return whether there are no arguments at all."""
    return not (arguments.named or arguments.further or arguments.keywords)
