"""Where a result came from: the commit, the packages and the machine."""

import os
import platform
import subprocess
from collections import Counter
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import retune
from retune import __version__
from retune.publishing import read_json

PACKAGES = ("torch", "deepspeed", "transformers", "tokenizers", "datasets")
# The code; metrics/, plan/ and dvc.lock are in git too, but a run itself changes them.
WORKFLOW = Path(retune.__file__).parents[1]
SETTINGS = "params.yaml"
TIMEOUT_S = 30


@dataclass(frozen=True)
class Provenance:
    """What is recorded of the place a result was made at; nothing depends on it.

    Attributes:
        workflow: The commit of the code.
        params: The commit of params.yaml, which may be of another repository.
        packages: Name -> version.
        machine: Name -> value.
    """

    workflow: str
    params: str
    packages: dict[str, str]
    machine: dict[str, str]


def record_provenance(folder: Path) -> Provenance:
    """Return the provenance of what is made in `folder`, on this machine."""
    params = git_state(folder / SETTINGS)
    return Provenance(git_state(WORKFLOW), params, package_versions(), machine())


def read_provenance(path: Path) -> Provenance:
    """Return the provenance that a step has recorded in a JSON file."""
    return Provenance(**read_json(path))


def git_state(path: Path) -> str:
    """Return the commit that a file or folder is of, and whether it differs from it."""
    if not path.exists():
        return "there is none"

    def git(*arguments: str) -> subprocess.CompletedProcess[str]:
        return ask(["git", "-C", str(path.parent), *arguments])

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


def package_versions() -> dict[str, str]:
    """Return the versions of retune, Python and what does the work, as found here."""
    versions = {"retune": __version__, "python": platform.python_version()}
    for name in PACKAGES:
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
        "memory": f"{memory / 1e9:.0f} GB",
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
    answer = ask(["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"])
    names = Counter(answer.stdout.split("\n")[:-1]) if answer.returncode == 0 else {}
    return (
        ", ".join(f"{count} x {name}" for name, count in names.items()) or "none found"
    )


def ask(command: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a command that reads only; one that is missing or hangs just fails."""
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
