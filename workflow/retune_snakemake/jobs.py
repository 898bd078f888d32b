"""What the workflow knows of Snakemake's rules and jobs, as plain values.

`snakemake_internals` reads them from Snakemake; nothing here is Snakemake's own.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class SnakemakeRule:
    """A rule of the workflow.

    Attributes:
        name: Name of the rule, which a workflow that uses ours as a module may choose.
        outputs: Paths of its outputs.
        benchmarks: Path of its benchmark file, if it has one.
    """

    name: str
    outputs: tuple[str, ...]
    benchmarks: tuple[str, ...]


@dataclass(frozen=True)
class SnakemakeJob:
    """A job of this run: one step, or a target such as `train`.

    Attributes:
        number: Number of the job in Snakemake's log.
        rule: Name of its rule.
        runs_nothing: Whether it is a target that only asks for files.
        inputs: Paths of its inputs by their names in the rule.
        outputs: Paths of its outputs.
        logs: Paths of its log files.
        benchmark: Path of its benchmark file, None if it has none.
    """

    number: int
    rule: str
    runs_nothing: bool
    inputs: Mapping[str, str]
    outputs: tuple[str, ...]
    logs: tuple[str, ...]
    benchmark: str | None


@dataclass(frozen=True)
class JobProvenance:
    """What Snakemake knows of why a job would run, and of how its outputs were made.

    Attributes:
        inputs: Paths of all inputs.
        params: Values of the rule's params by their names.
        is_forced: Whether the user asks for the job, whatever is there.
        is_interrupted: Whether a run was stopped while it made the outputs.
        has_metadata: Whether Snakemake recorded how the outputs were made.
        old_params: `repr` of each recorded param that no param equals now.
        new_params: `repr` of each param that was not recorded.
        recorded_inputs: Paths of the inputs of that time; None if not recorded.
        recorded_checksums: Checksums of small inputs at that time, by path.
        newer_inputs: Paths of the inputs that are newer than the outputs.
        inputs_to_come: Paths of the inputs that other jobs of this run would make.
        follows: Rules of the jobs that would run directly before it.
        reasons: Snakemake's own words for why it would run.
    """

    inputs: tuple[str, ...]
    params: Mapping[str, object]
    is_forced: bool
    is_interrupted: bool
    has_metadata: bool
    old_params: tuple[str, ...] = ()
    new_params: frozenset[str] = frozenset()
    recorded_inputs: tuple[str, ...] | None = None
    recorded_checksums: Mapping[str, str] = field(default_factory=dict)
    newer_inputs: frozenset[str] = frozenset()
    inputs_to_come: frozenset[str] = frozenset()
    follows: tuple[str, ...] = ()
    reasons: str = ""
