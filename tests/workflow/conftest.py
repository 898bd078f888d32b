"""A copy of the workflow in an empty folder, and a run of it that looks finished."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from planned_steps import read_reasons
from workflow_copy import copy_workflow


@dataclass(frozen=True)
class Workspace:
    """A folder with the workflow in it."""

    folder: Path

    def snakemake(self, *arguments: str) -> subprocess.CompletedProcess:
        """Run Snakemake there."""
        return subprocess.run(
            [sys.executable, "-m", "snakemake", *arguments],
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "COLUMNS": "200", "RETUNE_NO_DVC": "1"},
        )

    def planned(self, *arguments: str) -> set[str]:
        """Return the rules that a dry run of the main job would run."""
        result = self.snakemake("--dry-run", *arguments, "train")
        assert result.returncode == 0, result.stdout + result.stderr
        return set(read_reasons(result.stdout + result.stderr))

    def looks_finished(self) -> None:
        """Make up what outputs are missing; let Snakemake believe it made them all."""
        summary = self.snakemake("--summary", "train").stdout.splitlines()[1:]
        for line in summary:
            path = self.folder / line.split("\t")[0]
            if path.exists():
                continue
            if path.suffix:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text("made up")
            else:
                path.mkdir(parents=True, exist_ok=True)
        result = self.snakemake("--touch", "--forceall", "--cores", "1", "train")
        assert result.returncode == 0, result.stderr


@pytest.fixture(scope="session")
def make_workspace() -> Callable[[Path], Workspace]:
    """Puts the workflow into a new folder."""
    return lambda folder: Workspace(copy_workflow(folder))


@pytest.fixture
def workspace(tmp_path) -> Workspace:
    """The workflow in an empty folder."""
    return Workspace(copy_workflow(tmp_path / "workspace"))


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Workspace:
    """A run that looks finished; tests leave it as they found it."""
    folder = tmp_path_factory.mktemp("finished") / "workspace"
    finished = Workspace(copy_workflow(folder))
    finished.looks_finished()
    return finished
