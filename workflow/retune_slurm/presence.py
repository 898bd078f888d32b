"""Whether this machine can hand jobs to SLURM."""

import shutil
import subprocess

# Seconds to wait for SLURM's answer; a controller that takes longer is there, but busy.
PATIENCE_S = 20.0
ELSEWHERE = (
    "run this on a login node of the cluster, or leave out --workflow-profile to run"
    " on this machine"
)


def slurm_problem() -> str | None:
    """Return why no job can be submitted from here, None if one may be."""
    for name in ("sbatch", "squeue"):
        if shutil.which(name) is None:
            return f"no SLURM here: {name} not found; {ELSEWHERE}"
    try:
        done = subprocess.run(
            ["squeue", "--noheader", "--name", "retune"],
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_S,
        )
    except subprocess.TimeoutExpired:
        return None
    if done.returncode == 0:
        return None
    last = (done.stderr.strip().splitlines() or ["it says nothing"])[-1]
    return f"SLURM does not answer here ({last}); {ELSEWHERE}"
