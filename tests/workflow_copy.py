"""A copy of the workflow in an empty folder, as a fresh clone would be."""

import shutil
from pathlib import Path

from retune_workflow.manual import ROOT

FILES = "Snakefile", "params.yaml", "dvc.yaml", ".dvcignore", ".gitignore"
FOLDERS = "workflow", "profiles", "envs", ".dvc", "resolved"


def copy_workflow(target: Path) -> Path:
    """Copy what the workflow needs into `target`, which must not exist."""
    target.mkdir()
    for name in FILES:
        shutil.copy2(ROOT / name, target / name)
    for name in FOLDERS:
        ignored = shutil.ignore_patterns("__pycache__", "cache", "tmp", "*.egg-info")
        shutil.copytree(ROOT / name, target / name, ignore=ignored)
    return target
