"""Where a result was made: at which commit, with which packages, on which machine."""

import os
import platform
import subprocess
from collections import Counter
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import retune
from retune import __version__
from retune.artifacts.provenance import Provenance
from retune.units import GB

# Packages whose versions are recorded.
PACKAGES = ("torch", "deepspeed", "transformers", "tokenizers", "datasets")
# Only the folder of the code is compared with its commit: metrics/, plan/ and dvc.lock
# are in git too, but a run itself changes them.
WORKFLOW = Path(retune.__file__).parents[1]
SETTINGS = "params.yaml"
# How long git or nvidia-smi may take to answer.
TIMEOUT_S = 30


def record_provenance(folder: Path, packages: Iterable[str] = ()) -> Provenance:
    """Return the provenance of what is made on this machine.

    Args:
        folder: Folder in which it is made.
        packages: Packages that make it, beside PACKAGES.
    """
    return Provenance(
        workflow=git_state(WORKFLOW),
        params=git_state(folder / SETTINGS),
        packages=package_versions(packages),
        machine=machine(),
    )


def git_state(path: Path) -> str:
    """Return the commit of a file or folder, and whether it differs from it."""
    if not path.exists():
        return "there is none"

    def git(*arguments: str) -> subprocess.CompletedProcess[str]:
        return run_query(["git", "-C", str(path.parent), *arguments])

    commit = git("rev-parse", "--verify", "HEAD")
    if commit.returncode:
        return (
            "not in a git repository"
            if "not a git repository" in commit.stderr
            else "not known (no commit yet, or git cannot be asked)"
        )
    tracked, changes = (
        git(*command, "--", path.name)
        for command in (("ls-files",), ("status", "--porcelain"))
    )
    sha = commit.stdout.strip()
    if tracked.returncode or changes.returncode:
        return f"{sha}, whether as committed is not known"
    if not tracked.stdout.strip():
        return "not in git"
    state = "with uncommitted changes" if changes.stdout.strip() else "as committed"
    return f"{sha}, {state}"


def package_versions(others: Iterable[str] = ()) -> dict[str, str]:
    """Return the versions of retune, Python, PACKAGES and others, as found here."""
    versions = {"retune": __version__, "python": platform.python_version()}
    for name in (*PACKAGES, *others):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "not installed here"
    return versions


def machine() -> dict[str, str]:
    """Return processor, memory, GPUs and operating system of this machine."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "CPU": f"{len(os.sched_getaffinity(0))} x {cpu_model()}",
        "memory": f"{memory / GB:.0f} GB",
        "GPU": gpus(),
        "system": platform.platform(),
    }


def cpu_model() -> str:
    """Return the processor's name, or its architecture where it has none."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [
        line.partition(":")[2].strip() for line in lines if line[:10] == "model name"
    ]
    return names[0] if names and names[0] else platform.machine()


def gpus() -> str:
    """Return the NVIDIA GPUs by name; `none found` where the driver does not answer."""
    answer = run_query(["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"])
    names = Counter(answer.stdout.split("\n")[:-1]) if answer.returncode == 0 else {}
    return (
        ", ".join(f"{count} x {name}" for name, count in names.items()) or "none found"
    )


def run_query(command: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a command that changes nothing.

    Returns:
        Exit code and output; a command that is missing or hangs has exit code 1.
    """
    environment = {**os.environ, "LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0"}
    try:
        return subprocess.run(
            command,
            env=environment,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(command, 1, "", str(error))
