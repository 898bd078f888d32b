"""Asks the planner, in a process of its own, what would fit after memory ran out."""

import json
import logging
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

from retune.artifacts.memory_shortage import MemoryShortage

log = logging.getLogger(__name__)

# A module that is not imported here: a training's result does not depend on it.
ADVISER = "retune.training.memory_adviser"
# It imports torch and traces some plans, each within a second or two.
TIMEOUT_S = 120
WITHOUT_PLANNER = "write a smaller one, or give the run more memory"


def advice_on(shortage: MemoryShortage, state: Path) -> str:
    """Return the least change of settings that would fit, in words.

    Args:
        shortage: The memory of the rank that ran out of it.
        state: Folder of the run, in which run.json says what was trained.
    """
    command = [sys.executable, "-m", ADVISER, str(state), json.dumps(asdict(shortage))]
    # It needs no GPU, whose memory may still be full.
    environment = {**os.environ, "DS_ACCELERATOR": "cpu", "CUDA_VISIBLE_DEVICES": ""}
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        log.warning("the planner could not be asked what would fit: %s", error)
        return WITHOUT_PLANNER
    if done.returncode:
        log.warning("the planner failed:\n%s", done.stderr)
        return WITHOUT_PLANNER
    return done.stdout.strip().splitlines()[-1]
