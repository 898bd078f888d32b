"""What the command line of a step takes: read from its source, which is not imported.

A step's module may load torch, which takes seconds. Its arguments are those of its
function `run`. The docstring of `run` has the help of each, and a path's help ends with
where the workflow has it: `(data/raw)`.
"""

import ast
import inspect
import re
from dataclasses import dataclass
from functools import cache

from retune.step_code import LIBRARY


@dataclass(frozen=True)
class Argument:
    """One argument of a step.

    Attributes:
        name: Name in Python.
        type: Name of the type.
        help: What the argument is.
    """

    name: str
    type: str
    help: str

    @property
    def option(self) -> str:
        """The option of the command line."""
        return f"--{self.name.replace('_', '-')}"

    @property
    def is_path(self) -> bool:
        """Whether it is a file or folder; otherwise it is settings."""
        return self.type == "Path"

    @property
    def usual_path(self) -> str:
        """The path that a file or folder has in the workflow."""
        found = re.search(r"\(([^ ()]+)\)\.$", self.help)
        assert found, f"{self.name}: {self.help}: must end with its usual path"
        return found[1]


@dataclass(frozen=True)
class StepSignature:
    """What a step does, and what it takes.

    Attributes:
        step: Name of the step.
        summary: What the step does, in one sentence.
        arguments: Arguments of its function `run`.
    """

    step: str
    summary: str
    arguments: tuple[Argument, ...]

    @property
    def example(self) -> str:
        """A command that runs the step by hand, among the files of a run."""
        words = [f"python -m retune {self.step} --params params.yaml"]
        words += [f"{a.option} {a.usual_path}" for a in self.arguments if a.is_path]
        return " \\\n    ".join(words)


@cache
def read_signature(step: str) -> StepSignature:
    """Return the signature of a step, from the source of its module."""
    module = ast.parse((LIBRARY / f"steps/{step}.py").read_text("utf-8"))
    [run] = [
        node
        for node in module.body
        if isinstance(node, ast.FunctionDef) and node.name == "run"
    ]
    helps = argument_helps(ast.get_docstring(run) or "")
    return StepSignature(
        step,
        summary_in(ast.get_docstring(module) or ""),
        tuple(
            Argument(a.arg, ast.unparse(a.annotation or a), helps[a.arg])
            for a in run.args.args
        ),
    )


def summary_in(docstring: str) -> str:
    """Return the first sentence of a step's module, without the step's name."""
    text = docstring.splitlines()[0].partition("`: ")[2]
    return text[:1].upper() + text[1:]


def argument_helps(docstring: str) -> dict[str, str]:
    """Return the texts under `Args:` of a docstring, by argument."""
    _, _, after = inspect.cleandoc(docstring).partition("\nArgs:\n")
    section = re.split(r"\n\n(?=\S)", after)[0]
    found = re.findall(r"^    (\w+): (.*(?:\n {8}.*)*)", section, re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in found}
