"""What the command line of a step takes: read from its source, which is not imported.

A step's module may load torch. Its arguments are those of its function `run`; what the
docstring says of each is its help, and `(data/raw)` at the end is where it usually is.
"""

import ast
import inspect
import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Argument:
    """One argument of a step.

    Attributes:
        name: As in Python.
        type: The name of its type.
        help: What it is.
    """

    name: str
    type: str
    help: str

    @property
    def option(self) -> str:
        """Return what it is called on the command line."""
        return f"--{self.name.replace('_', '-')}"

    @property
    def usual_path(self) -> str:
        """Return where the workflow has it."""
        found = re.search(r"\(([^ ()]+)\)\.$", self.help)
        assert found, f"{self.name}: {self.help}: must end with its usual path"
        return found[1]


@dataclass(frozen=True)
class StepDescription:
    """What a step does, and what it takes."""

    summary: str
    arguments: tuple[Argument, ...]


def describe_step(step: str) -> StepDescription:
    """Return what the source of a step's module says of it."""
    module = ast.parse((Path(__file__).parent / f"{step}.py").read_text("utf-8"))
    [run] = [
        node
        for node in module.body
        if isinstance(node, ast.FunctionDef) and node.name == "run"
    ]
    helps = described_arguments(ast.get_docstring(run) or "")
    return StepDescription(
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


def described_arguments(docstring: str) -> dict[str, str]:
    """Return the texts under `Args:` of a docstring, by argument."""
    _, _, after = inspect.cleandoc(docstring).partition("\nArgs:\n")
    section = re.split(r"\n\n(?=\S)", after)[0]
    found = re.findall(r"^    (\w+): (.*(?:\n {8}.*)*)", section, re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in found}


def example_of(step: str) -> str:
    """Return a command that runs a step by hand, among the files of a run."""
    words = [f"python -m retune {step} --params params.yaml"]
    words += [
        f"{argument.option} {argument.usual_path}"
        for argument in describe_step(step).arguments
        if argument.type == "Path"
    ]
    return " \\\n    ".join(words)
