"""Says what an upgrade of a dependency has broken, in the words of `retune.compat`."""

import ast
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

COMPAT = Path(__file__).parents[1] / "workflow/retune/compat"
MODULES = sorted(path.stem for path in COMPAT.glob("[a-z]*.py"))


@contextmanager
def contract(module: str) -> Iterator[None]:
    """Fail with what a module of `retune.compat` is for if the body fails.

    Args:
        module: Name of the module.
    """
    try:
        yield
    except Exception as error:
        pytest.fail(
            f"compat/{module}.py no longer does what it is for:"
            f" {type(error).__name__}: {error}\n\n{what_breaks(module)}"
        )


def what_breaks(module: str) -> str:
    """Return the docstrings of a module that name what it uses and what breaks."""
    tree = ast.parse((COMPAT / f"{module}.py").read_text())
    kinds = ast.Module | ast.FunctionDef | ast.ClassDef
    nodes = [node for node in ast.walk(tree) if isinstance(node, kinds)]
    texts = [ast.get_docstring(node) or "" for node in nodes]
    return "\n\n".join(text for text in texts if "Without" in text or "Uses" in text)
