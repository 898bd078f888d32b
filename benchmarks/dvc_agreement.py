"""What it costs that Snakemake and DVC agree, on the default run.

    python benchmarks/dvc_agreement.py [--repeat 5]

Clones this checkout, runs the main job there, and times `snakemake -n train` with DVC
and without, in turn, when nothing has moved; then the first `snakemake -n train` of a
clone that has pulled, which adopts everything. Then it times a run that makes the
outputs of `prepare`, `tokenize` and `configure` again, with DVC and without.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from machine import describe_machine

ROOT = Path(__file__).parents[1]
ENVIRONMENT = {
    **os.environ,
    "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    "DVC_NO_ANALYTICS": "1",
}
WITHOUT = {"RETUNE_NO_DVC": "1"}
CHEAP_STEPS = ("prepare", "tokenize", "configure")


def main() -> None:
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=5, metavar="N")
    repeat = parser.parse_args().repeat
    rows = []
    with finished_run() as job:
        plain, agreeing = [], []
        for _ in range(repeat):
            plain.append(time_dry_run(job, **WITHOUT))
            agreeing.append(time_dry_run(job))
        rows.append(("nothing moved, without DVC", plain))
        rows.append(("nothing moved, with DVC", agreeing))
        differences = [a - b for a, b in zip(agreeing, plain, strict=True)]
        rows.append(("difference, pair by pair", differences))
        adopting, after = [], []
        for number in range(repeat):
            clone = job.parent / f"clone-{number}"
            run(job.parent, "git", "clone", "--quiet", str(job), str(clone))
            run(clone, "dvc", "pull", "--quiet")
            adopting.append(time_dry_run(clone))
            after.append(time_dry_run(clone))
        rows.append(("first look at a clone that has pulled", adopting))
        rows.append(("second look", after))
        plain, recorded = [], []
        for _ in range(repeat):
            plain.append(time_cheap_steps(job, **WITHOUT))
            # Records what was made without DVC.
            run(job, "snakemake", "--cores", "1", "train")
            recorded.append(time_cheap_steps(job))
        rows.append(("three cheap steps again, without DVC", plain))
        rows.append(("three cheap steps again, recorded with DVC", recorded))
        per_step = [
            (a - b) / len(CHEAP_STEPS) for a, b in zip(recorded, plain, strict=True)
        ]
        rows.append(("difference for each step", per_step))
    print(f"{describe_machine('snakemake', 'dvc')}; {repeat} times each.\n")
    print("| what | median, s | min, s | max, s |")
    print("| --- | ---: | ---: | ---: |")
    for name, times in rows:
        middle = statistics.median(times)
        print(f"| {name} | {middle:.2f} | {min(times):.2f} | {max(times):.2f} |")


@contextmanager
def finished_run() -> Iterator[Path]:
    """Yield a clone of this checkout in which the main job has run and was pushed."""
    with tempfile.TemporaryDirectory(prefix="retune-benchmark-") as folder:
        job = Path(folder) / "job"
        run(ROOT, "git", "clone", "--quiet", str(ROOT), str(job))
        run(job, "snakemake", "--cores", "all", "train")
        run(job, "dvc", "remote", "add", "--default", "here", f"{folder}/remote")
        run(job, "git", "add", "--all")
        identity = ["-c", "user.name=benchmark", "-c", "user.email=benchmark@localhost"]
        run(job, "git", *identity, "commit", "--quiet", "--message", "run")
        run(job, "dvc", "push", "--quiet")
        yield job


def time_dry_run(folder: Path, **environment: str) -> float:
    """Return the seconds that a dry run with nothing to do takes."""
    start = time.monotonic()
    shown = run(folder, "snakemake", "-n", "train", **environment)
    seconds = time.monotonic() - start
    assert "Nothing to be done" in shown, shown
    return seconds


def time_cheap_steps(folder: Path, **environment: str) -> float:
    """Return the seconds that a run of three steps takes, which change nothing."""
    steps = ("--cores", "1", "--forcerun", *CHEAP_STEPS, "--", *CHEAP_STEPS)
    start = time.monotonic()
    shown = run(folder, "snakemake", *steps, **environment)
    seconds = time.monotonic() - start
    assert shown.count("✓") == len(CHEAP_STEPS), shown
    return seconds


def run(folder: Path, *command: str, **environment: str) -> str:
    """Run a command that must succeed; return what it prints."""
    result = subprocess.run(
        command,
        cwd=folder,
        env=ENVIRONMENT | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if result.returncode:
        sys.exit(f"{' '.join(command)}\n{result.stdout}")
    return result.stdout


if __name__ == "__main__":
    main()
