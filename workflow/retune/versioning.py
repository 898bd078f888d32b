"""Records finished steps with DVC: their entries in dvc.lock, their bytes in its cache.

A Snakemake run ends with `record`; when DVC itself drives a step (dvc repro, dvc exp
run), it records on its own. `RETUNE_NO_DVC=1` or a missing .dvc switches this off.
"""

import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from retune.errors import RetuneError
from retune.params import read_params
from retune.settings import Params

STAGES = Path("dvc.yaml")
SETTINGS = Path("params.yaml")


def is_active() -> bool:
    """Return whether this run should be recorded here."""
    return (
        Path(".dvc").is_dir()
        and STAGES.is_file()
        and not os.environ.get("DVC_STAGE")
        and not os.environ.get("RETUNE_NO_DVC")
    )


def record(finished: Iterable[str], used: Params) -> str | None:
    """Record the steps whose outputs are now what dvc.yaml and params.yaml say.

    Args:
        finished: Names of the steps that ran or were up to date.
        used: The settings they ran with.

    Returns:
        Why nothing was recorded, if so, in a line for the user.
    """
    if not is_active():
        return None
    if not same_settings(used):
        return "not recorded with DVC: some settings are not those of params.yaml"
    stages = yaml.safe_load(STAGES.read_text(encoding="utf-8"))["stages"]
    whole = [
        name for name in sorted(finished) if name in stages and is_whole(stages[name])
    ]
    if not whole:
        return None
    # --force: the outputs are known to be right, DVC need not ask.
    command = ["dvc", "--wait-for-lock", "commit", "--force", *whole]
    result = subprocess.run(
        [sys.executable, "-m", *command],
        env={**os.environ, "DVC_NO_ANALYTICS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode == 0:
        return None
    reason = (result.stderr.strip().splitlines() or ["no reason given"])[-1]
    return f"not recorded with DVC ({reason}); when mended: {' '.join(command)}"


def same_settings(used: Params) -> bool:
    """Return whether params.yaml says what the steps ran with."""
    try:
        return read_params(yaml.safe_load(SETTINGS.read_text(encoding="utf-8"))) == used
    except (OSError, RetuneError, yaml.YAMLError):
        return False


def is_whole(stage: dict[str, Any]) -> bool:
    """Return whether every output of a stage is there."""
    outputs = [
        path
        for kind in ("outs", "metrics", "plots")
        for entry in stage.get(kind, [])
        for path in (entry if isinstance(entry, dict) else [entry])
    ]
    return all(Path(path).exists() for path in outputs)
