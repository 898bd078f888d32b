"""What this package needs to know of the rules of a workflow."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class StepRules:
    """The steps as rules, whatever a workflow that uses them as a module calls them.

    Attributes:
        snakefile: Path of the Snakefile that was started.
        stages: The dvc.yaml that comes with the rules, for folders without one.
        rules: Name of each step's rule.
        outputs: Paths that each step writes.
        benchmarks: Paths of the files where Snakemake writes how long a step took.
    """

    snakefile: str
    stages: Path
    rules: dict[str, str]
    outputs: dict[str, list[str]]
    benchmarks: dict[str, list[str]]

    @classmethod
    def without_rules(cls) -> "StepRules":
        """Return what stands for a workflow whose rules are not known."""
        return cls(snakefile="", stages=Path(), rules={}, outputs={}, benchmarks={})

    def rules_of(self, steps: Iterable[str]) -> list[str]:
        """Return the names of these steps' rules."""
        return [self.rules[step] for step in steps]

    def timed_files(self, step: str) -> list[str]:
        """Return all files and folders of a step by whose time Snakemake goes."""
        return [*self.outputs[step], *self.benchmarks[step]]

    def step_of(self, rule: str) -> str | None:
        """Return the step of a rule; None if it is none of these."""
        return next((step for step, name in self.rules.items() if name == rule), None)
