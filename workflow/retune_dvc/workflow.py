"""What this package needs to know of a workflow of Snakemake's."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Workflow:
    """The steps as rules, whatever a workflow that uses them as a module calls them.

    Attributes:
        snakefile: That of the whole workflow.
        stages: The dvc.yaml that comes with the rules, for folders without one.
        rules: The name of each step's rule.
        outputs: What each step writes.
        benchmarks: And where Snakemake writes how long that took.
        code: The modules of each step.
    """

    snakefile: str
    stages: Path
    rules: dict[str, str]
    outputs: dict[str, list[str]]
    benchmarks: dict[str, list[str]]
    code: dict[str, list[str]]

    def rules_of(self, steps: Iterable[str]) -> list[str]:
        """Return the names of these steps' rules."""
        return [self.rules[step] for step in steps]

    def timed_files(self, step: str) -> list[str]:
        """Return all files and folders of a step by whose time Snakemake goes."""
        return [*self.outputs[step], *self.benchmarks[step]]

    def step_of(self, rule: str) -> str | None:
        """Return the step of a rule; None if it is none of these."""
        return next((step for step, name in self.rules.items() if name == rule), None)
