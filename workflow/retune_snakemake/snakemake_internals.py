"""Every private or undocumented name of Snakemake that this project uses.

Each function says which name it uses and what no longer works without it. They are
tested against Snakemake itself in tests/workflow/test_snakemake_internals.py, which
fails first when another release of Snakemake has other names.
"""

import contextlib
import io
from argparse import Namespace
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retune_snakemake.jobs import JobProvenance, SnakemakeJob, SnakemakeRule

if TYPE_CHECKING:
    from snakemake.jobs import Job
    from snakemake.rules import Rule
    from snakemake.workflow import Workflow

# The file that Snakemake leaves in a folder that it made; its time is the folder's.
TIMESTAMP = ".snakemake_timestamp"
# What Snakemake writes for a resource that it cannot compute yet.
TO_BE_DETERMINED = "<TBD>"
# The columns of `snakemake --summary` and what it says of an output that stays.
SUMMARY_OUTPUT, SUMMARY_PLAN, SUMMARY_STAYS = "output_file", "plan", "no update"


def parse_arguments(arguments: list[str]) -> Namespace:
    """Return the values of Snakemake's options, those of its profile included.

    Uses `snakemake.cli.parse_args`. Without it nothing is recorded with DVC, and a dry
    run does not show what SLURM would be asked for.

    Raises:
        SystemExit: If these are no arguments of Snakemake's.
    """
    from snakemake.cli import parse_args

    # It says which profile it reads, which Snakemake has said already.
    with contextlib.redirect_stderr(io.StringIO()):
        _, values = parse_args(arguments)
    return values


def default_snakefiles() -> list[str]:
    """Return where Snakemake looks for a Snakefile by itself.

    Uses `snakemake.common.SNAKEFILE_CHOICES`. Without it `retune_dvc init` cannot say
    whether it needs `--snakefile`.
    """
    from snakemake.common import SNAKEFILE_CHOICES

    return [str(Path(choice).absolute()) for choice in SNAKEFILE_CHOICES]


class SnakemakeRun:
    """The run that reads these rules: `workflow` in a Snakefile, which is private."""

    def __init__(self, workflow: "Workflow") -> None:
        """Take the `workflow` that every Snakefile sees."""
        self._workflow = workflow

    @property
    def is_main_process(self) -> bool:
        """Whether a user or DVC started this Snakemake, and not Snakemake for a job.

        Uses `workflow.is_main_process`. Without it the rules cannot be read.
        """
        return bool(self._workflow.is_main_process)

    @property
    def is_job_elsewhere(self) -> bool:
        """Whether this Snakemake runs a job on a cluster.

        Uses `workflow.remote_exec`. Without it the rules cannot be read.
        """
        return bool(self._workflow.remote_exec)

    @property
    def is_dry_run(self) -> bool:
        """Whether no step runs; known once the rules are read.

        Uses `workflow.dryrun`. Without it a dry run does not say why steps would run.
        """
        return bool(self._workflow.dryrun)

    @property
    def is_touch(self) -> bool:
        """Whether outputs get new times and no step runs; known after the rules.

        Uses `workflow.touch`. Without it steps are not recorded with DVC.
        """
        return bool(self._workflow.touch)

    @property
    def is_module(self) -> bool:
        """Whether another workflow uses these rules as a module.

        Uses `workflow.modifier.is_main_snakefile`. Without it the rules cannot be read.
        """
        return not self._workflow.modifier.is_main_snakefile()

    @property
    def has_configfile(self) -> bool:
        """Whether the settings come from files, and not from a workflow around this.

        Uses `workflow.modifier.skip_configfile`. Without it the rules cannot be read.
        """
        return not self._workflow.modifier.skip_configfile

    @property
    def configfiles(self) -> list[Path]:
        """The files of `--configfile`.

        Uses `workflow.overwrite_configfiles`. Without it the rules cannot be read.
        """
        return list(self._workflow.overwrite_configfiles)

    @property
    def config_options(self) -> Mapping[str, Any]:
        """The settings of `--config`.

        Uses `workflow.config_settings.config`. Without it the rules cannot be read.
        """
        settings: Mapping[str, Any] = self._workflow.config_settings.config
        return settings

    @property
    def snakefile(self) -> str:
        """Path of the Snakefile that was started.

        Uses `workflow.main_snakefile`. Without it nothing is recorded with DVC.
        """
        return str(self._workflow.main_snakefile)

    def name_of_rule(self, step: str) -> str:
        """Return the name of a step's rule, which a module's user may have changed.

        Uses `workflow.modifier.modify_rulename`. Without it the rules cannot be read.
        """
        return str(self._workflow.modifier.modify_rulename(step))

    def find_rule(self, name: str) -> SnakemakeRule | None:
        """Return a rule; None if a module's user has left it out.

        Uses `workflow.is_rule`, `workflow.get_rule` and the attributes of a rule.
        Without them nothing is recorded with DVC.
        """
        if not self._workflow.is_rule(name):
            return None
        rule: Rule = self._workflow.get_rule(name)
        benchmarks = [str(rule.benchmark)] if rule.benchmark else []
        outputs = tuple(map(str, rule.output))
        return SnakemakeRule(str(rule.name), outputs, tuple(benchmarks))

    def profile_resource(self, rule: str, resource: str) -> object | None:
        """Return what `set-resources` gives a rule, None if nothing.

        Uses `workflow.resource_settings.overwrite_resources`. Without it a step asks
        a cluster for what it needs by our estimate alone.
        """
        settings = self._workflow.resource_settings.overwrite_resources
        given: Mapping[str, Any] = settings.get(rule, {})
        return given[resource].raw if resource in given else None

    def default_resource(self, resource: str) -> object | None:
        """Return what `default-resources` gives every rule, None if nothing.

        Uses `workflow.resource_settings.default_resources`. Without it GPUs of any
        type are asked for, and the profile's `slurm_extra` is not.
        """
        defaults = self._workflow.resource_settings.default_resources or {}
        return defaults[resource].raw if resource in defaults else None

    @property
    def executor(self) -> str:
        """What runs the jobs: `local`, `slurm`, ...; known once the rules are read.

        Uses `workflow.executor_plugin.name`. Without it GPUs, nodes and SLURM are not
        checked before a run starts.
        """
        return str(self._workflow.executor_plugin.name)

    @property
    def running_executor(self) -> Any:
        """The executor that runs the jobs, of a type of its plugin's.

        Uses `workflow.scheduler._executor`. Without it nobody watches SLURM's jobs.
        """
        return self._workflow.scheduler._executor

    @property
    def executor_settings(self) -> Any:
        """The settings of the executor, of a type of its plugin's.

        Uses `workflow.executor_settings`. Without it nobody watches SLURM's jobs.
        """
        return self._workflow.executor_settings

    @property
    def shows_own_words(self) -> bool:
        """Whether the terminal shows jobs as Snakemake describes them.

        Uses `workflow.output_settings`. Without it a dry run does not say why steps
        would run.
        """
        shown = self._workflow.output_settings
        is_ours = "retune" in shown.log_handler_settings
        return bool(shown.verbose or shown.printshellcmds or not is_ours)

    def runs_beside_snakemake(self, job: SnakemakeJob) -> bool:
        """Return whether a job is never sent to a cluster.

        Uses `workflow._localrules`. Without it a dry run does not show what SLURM
        would be asked for.
        """
        return job.rule in self._workflow._localrules or job.runs_nothing

    def jobs(self) -> list[SnakemakeJob]:
        """Return all jobs that lead to the targets.

        Uses `workflow.dag.jobs` and the attributes of a job. Without them a dry run
        does not say why steps would run, and nothing is recorded with DVC.
        """
        return [as_job(job) for job in self._workflow.dag.jobs]

    def needed_jobs(self, or_finished: bool = False) -> list[SnakemakeJob]:
        """Return the jobs that are to run.

        Uses `workflow.dag.needrun_jobs`. Without it GPUs and folders are not checked
        before a run starts, and DVC is not kept away from the outputs.

        Args:
            or_finished: Whether those count that have run by now.
        """
        jobs = self._workflow.dag.needrun_jobs(exclude_finished=not or_finished)
        return [as_job(job) for job in jobs]

    def finished_jobs(self) -> list[SnakemakeJob]:
        """Return the jobs that have run.

        Uses `workflow.dag.finished_jobs`. Without it the result is not shown at the
        end, and steps of a run without events are not recorded with DVC.
        """
        return [as_job(job) for job in self._workflow.dag.finished_jobs]

    def find_job(self, number: int) -> SnakemakeJob:
        """Return a job by the number that Snakemake's log gives it.

        Uses `workflow.dag.jobs` and `job.jobid`. Without them nothing is recorded with
        DVC.
        """
        return as_job(self.own_job(number))

    def is_forced(self, number: int) -> bool:
        """Return whether Snakemake was told to run a job, whatever is there.

        Uses `workflow.dag.reason`. Without it nothing is recorded with DVC.
        """
        return bool(self._workflow.dag.reason(self.own_job(number)).forced)

    def read_provenance(self, number: int) -> JobProvenance:
        """Return what Snakemake knows of why a job would run.

        Uses `workflow.dag` and `workflow.persistence`. Without them a dry run does not
        say why steps would run.
        """
        job = self.own_job(number)
        dag, persistence = self._workflow.dag, self._workflow.persistence
        reason = dag.reason(job)
        interrupted = self._workflow.async_run(persistence.incomplete(job))
        needed = {
            other: paths
            for other, paths in dag.dependencies[job].items()
            if dag.needrun(other)
        }
        known = persistence.has_metadata(job)
        changes = persistence.params_changed(job) if known else None
        return JobProvenance(
            inputs=tuple(map(str, job.input)),
            params=dict(job.params.items()),
            is_forced=is_asked_for(job, dag, interrupted),
            is_interrupted=bool(interrupted),
            has_metadata=known,
            old_params=tuple(sorted(changes.only_old)) if changes else (),
            new_params=frozenset(changes.only_new) if changes else frozenset(),
            recorded_inputs=recorded_inputs(job, persistence) if known else None,
            recorded_checksums=recorded_checksums(job, persistence) if known else {},
            newer_inputs=frozenset(map(str, reason.updated_input)),
            inputs_to_come=frozenset(
                str(path) for paths in needed.values() for path in paths
            ),
            follows=last_of(needed, dag),
            reasons=", ".join(reason.get_names()) if known else "",
        )

    def plan_with(self, times: Mapping[str, int], unrecorded: Iterable[str]) -> None:
        """Have this Snakemake plan with other times of files, without changing them.

        Uses `workflow._build_dag`, `workflow.iocache.mtime` and
        `workflow.persistence.metadata`. Without them a dry run goes by what Snakemake
        knows itself, and not by what DVC knows.

        Args:
            times: Modification times by path, ns.
            unrecorded: Paths of outputs of which Snakemake is to forget, for this
                plan, how they were made.
        """
        from snakemake_interface_storage_plugins.io import Mtime

        workflow, hidden = self._workflow, frozenset(unrecorded)
        build = workflow._build_dag

        def build_with_them() -> None:
            persistence = workflow.persistence
            read = persistence.metadata
            persistence.metadata = lambda path: (
                None if str(path) in hidden else read(path)
            )
            for path, time in times.items():
                # Snakemake's times are floats, of 0.24 µs; in doubt this one is later
                # than that of a file on disk with which it is to be equal.
                seconds = (time + 1000) / 1e9
                workflow.iocache.mtime[path] = Mtime(seconds, seconds)
            build()

        workflow._build_dag = build_with_them

    def own_job(self, number: int) -> "Job":
        """Return a job as Snakemake has it, for the functions of an executor plugin.

        Uses `workflow.dag.jobs` and `job.jobid`. Without them nothing is recorded with
        DVC, and a dry run does not say why steps would run.
        """
        return next(job for job in self._workflow.dag.jobs if job.jobid == number)


def as_job(job: "Job") -> SnakemakeJob:
    """Return a job of Snakemake's as values. Uses its attributes: see `jobs`."""
    return SnakemakeJob(
        number=job.jobid,
        rule=str(job.rule.name),
        runs_nothing=bool(job.rule.norun),
        inputs={name: str(path) for name, path in job.input.items()},
        outputs=tuple(map(str, job.output)),
        logs=tuple(map(str, job.log)),
        benchmark=str(job.benchmark) if job.benchmark else None,
    )


def is_asked_for(job: "Job", dag: Any, interrupted: list[Any]) -> bool:
    """Return whether the user forces a job; Snakemake forces interrupted ones, too.

    Uses `dag.forcerules`, `dag.omitforce` and `dag.forcefiles`: see `read_provenance`.
    """
    if job.rule in dag.forcerules and job not in dag.omitforce:
        return True
    return bool(dag.forcefiles.intersection(job.output).difference(interrupted))


def recorded_inputs(job: "Job", persistence: Any) -> tuple[str, ...] | None:
    """Return the inputs with which a job's outputs were made.

    Uses `persistence.input`: see `read_provenance`.
    """
    recorded = persistence.input(job.output[0])
    return None if recorded is None else tuple(recorded)


def recorded_checksums(job: "Job", persistence: Any) -> dict[str, str]:
    """Return the checksums of inputs when a job last ran, where there is one.

    Uses `persistence.input_checksums`: see `read_provenance`.
    """
    found: dict[str, str] = {}
    for path in map(str, job.input):
        checksums = persistence.input_checksums(job, path)
        checksum = checksums.pop() if len(checksums) == 1 else None
        if checksum and checksum.startswith("sha256:"):
            found[path] = checksum
    return found


def last_of(jobs: Iterable["Job"], dag: Any) -> tuple[str, ...]:
    """Return the rules of these jobs that none of the others comes after.

    Uses `dag.dependencies`: see `read_provenance`.
    """

    def before(job: "Job") -> set["Job"]:
        direct = set(dag.dependencies[job])
        return direct.union(*(before(other) for other in direct))

    earlier = {other for job in jobs for other in before(job)}
    return tuple(sorted(str(job.rule.name) for job in jobs if job not in earlier))
