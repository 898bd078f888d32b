"""Checks of a run before its jobs are queued: the library's, and the cluster's."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from retune.checking.outcome import Outcome, failed, not_checked
from retune.checking.sections import read_sections
from retune.cli.check import end, show_checks
from retune.errors import RetuneError
from retune.settings.params_file import settings_files
from retune.step_code import STEPS
from retune.terminal.closed_pipe import while_someone_reads
from retune_slurm.partitions import read_partitions
from retune_slurm.presence import slurm_problem
from retune_slurm.request_check import refusal, request_problems

PARAMS = Path("params.yaml")
PROFILE = Path("profiles/slurm")
# Seconds after which a dry run is given up.
DRY_RUN_S = 120
# Lines that are shown of a dry run that fails.
LAST_LINES = 10
# The line of a dry run with what a job asks for, and what may follow there.
REQUEST = re.compile(r"^    sbatch: (.*?)(?: \(to come, [^()]*\))?$")
TO_COME = "(to come, "
REFUSED = "    would be refused: "


@dataclass(frozen=True)
class DryRun:
    """What a dry run has told.

    Attributes:
        steps: Steps that would run.
        requests: Options of sbatch for each job, by its step.
        incomplete: Steps whose jobs will ask for more, from files not made yet.
        refused: Why Snakemake's executor would refuse a job, by its step.
    """

    steps: tuple[str, ...]
    requests: dict[str, str]
    incomplete: tuple[str, ...]
    refused: dict[str, str]


def run(params: Path, profile: Path) -> int:
    """Print each check as it is done, and then all errors.

    Args:
        params: Settings file; another one than params.yaml is merged over that.
        profile: Folder of Snakemake's profile for the cluster.

    Returns:
        The exit code: 1 if there are errors, or nobody reads them, else 0.

    Raises:
        RetuneError: If the settings file cannot be read at all, or there is no such
            profile, which Snakemake would not say.
    """
    if not profile.exists():
        raise RetuneError(f"--workflow-profile: there is no folder {profile}")
    with while_someone_reads():
        sections, settings = read_sections(*settings_files(PARAMS, [params]))
        outcomes = show_checks([("settings", settings)])
        process = None if settings.errors else start_dry_run(params, profile)
        # It loads torch meanwhile, which takes as long.
        from retune.checking.run_checks import run_checks

        told, workflow = None, not_checked("the settings have errors")
        if process:
            told, workflow = result_of(process, profile)
        outcomes += show_checks([("workflow", workflow)])
        fresh = set(STEPS) - set(told.steps) if told else set()
        outcomes += show_checks(run_checks(sections, fresh))
        slurm = check_slurm(told) if told else not_checked("it needs the dry run")
        outcomes += show_checks([("SLURM request", slurm)])
        return end(outcomes)
    return 1


def start_dry_run(params: Path, profile: Path) -> subprocess.Popen[str]:
    """Ask Snakemake what would run, and what of the cluster.

    Args:
        params: Settings file.
        profile: Folder of Snakemake's profile for the cluster.
    """
    command = [sys.executable, "-m", "snakemake", "--dry-run"]
    command += ["--workflow-profile", str(profile)]
    if params != PARAMS:
        command += ["--configfile", str(params)]
    return subprocess.Popen(
        [*command, "--", "train"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "NO_COLOR": "1"},
    )


def result_of(
    process: subprocess.Popen[str], profile: Path
) -> tuple[DryRun | None, Outcome]:
    """Return what a dry run has told; None if it failed.

    Args:
        process: The dry run.
        profile: Folder of the profile that it goes by.
    """
    try:
        _, shown = process.communicate(timeout=DRY_RUN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return None, not_checked(f"a dry run took more than {DRY_RUN_S} s")
    if process.returncode:
        lines = [line for line in shown.splitlines() if not line.startswith("Using ")]
        last = "\n".join(lines[-LAST_LINES:])
        return None, failed(last or "snakemake --dry-run fails")
    told = read_dry_run(shown)
    number = len(told.steps)
    return told, Outcome(f"{number} of {len(STEPS)} steps would run, by {profile}")


def read_dry_run(shown: str) -> DryRun:
    """Return what a dry run has told.

    Args:
        shown: What it has printed: a line for each step, and below it its request.
    """
    steps: list[str] = []
    requests: dict[str, str] = {}
    incomplete: list[str] = []
    refused: dict[str, str] = {}
    for line in shown.splitlines():
        name = line.partition(" ")[0]
        if name in STEPS:
            steps.append(name)
        elif found := REQUEST.match(line):
            requests[steps[-1]] = found[1]
            if TO_COME in line:
                incomplete.append(steps[-1])
        elif line.startswith(REFUSED):
            refused[steps[-1]] = line.removeprefix(REFUSED)
    return DryRun(tuple(steps), requests, tuple(incomplete), refused)


def check_slurm(told: DryRun) -> Outcome:
    """Return whether the cluster can start every job of a dry run."""
    errors = [f"{step}: {why}" for step, why in told.refused.items()]
    found = f"{len(told.requests)} jobs"
    if number := len(told.incomplete):
        found += f"; time or memory of {number} follow from files not made yet"
    if not told.requests:
        # It is not known if steps would run, but by another executor.
        is_checked = not told.steps
        return Outcome("no job would be SLURM's", tuple(errors), (), is_checked)
    if shutil.which("sinfo") is None:
        return Outcome(f"{found}; no SLURM here", tuple(errors), is_checked=False)
    if problem := slurm_problem():
        return Outcome(found, (*errors, problem))
    partitions = read_partitions()
    if partitions is None:
        return Outcome(f"{found}; sinfo fails", tuple(errors), is_checked=False)
    warnings = []
    for step, request in told.requests.items():
        problems = request_problems(request, partitions)
        if not problems and (words := refusal(request)):
            problems = [f"SLURM would refuse its job: {words}"]
        errors += [f"{step}: {problem}" for problem in problems]
        warnings += [
            f"{step}: partition {name} takes no jobs now"
            for name, partition in partitions.items()
            if f"-p {name} " in f"{request} " and not partition.is_up
        ]
    return Outcome(found, tuple(errors), tuple(warnings))
