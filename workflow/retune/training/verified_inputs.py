"""Before they load anything, the ranks verify together what they will train on.

Every machine verifies all files that it reads, because its copy may differ from that of
another machine; the ranks of a machine divide the files among themselves. What they
have verified is in the page cache when they load it, if it fits.
"""

import os

from retune.artifacts.run_spec import RunSpec
from retune.artifacts.verifying import (
    WEIGHTS,
    Written,
    check_list,
    matches,
    verify_hashes,
)
from retune.supervision.heartbeat import Heartbeat

TOKENS = "*.bin"
# Files that the ranks verify because they are large; the step that starts the ranks
# verifies the others.
LARGE = (WEIGHTS, TOKENS)
# Training does not read the test split.
NOT_READ = ("test.*",)


def verify_large_files(run: RunSpec, heartbeat: Heartbeat) -> None:
    """Verify those of the large files that fall to this rank.

    Args:
        run: The training.
        heartbeat: Heartbeat of this rank, which beats while files are read.

    Raises:
        RetuneError: If the bytes of a file are not those that were written.
    """
    ranks = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    rank = int(os.environ["LOCAL_RANK"]) % ranks
    threads = max(1, len(os.sched_getaffinity(0)) // ranks)
    folders = {run.tokens: "tokenize"}
    # Under ZeRO-3 only rank 0 reads the weights, so only its machine verifies them.
    if run.plan.zero_stage != 3 or int(os.environ["RANK"]) < ranks:
        folders[run.base] = "fetch"
    for folder, step in folders.items():
        files = [
            file
            for file in check_list(folder, step)
            if matches(file, LARGE) and not matches(file, NOT_READ)
        ]
        own = files_of_rank(files, rank, ranks)
        verify_hashes(own, step, threads, heartbeat.go_on)


def files_of_rank(files: list[Written], rank: int, ranks: int) -> list[Written]:
    """Return the files of one rank; each file falls to one rank.

    The ranks get about equally many bytes.

    Args:
        files: All files, the same list on all ranks.
        rank: Number of the rank among those of its machine, from 0.
        ranks: Number of ranks on the machine.
    """
    divided: list[list[Written]] = [[] for _ in range(ranks)]
    for file in sorted(files, key=lambda file: -file.size):
        least = min(divided, key=lambda own: sum(other.size for other in own))
        least.append(file)
    return divided[rank]
