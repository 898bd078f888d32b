"""Before they load anything, the ranks verify together what they will train on.

Every machine verifies all that it reads, since its copy may be another one; its ranks
share the files. What they load next is in memory then, if it fits.
"""

import os
from pathlib import Path
from typing import Any

from retune.training.heartbeat import Heartbeat
from retune.verifying import WEIGHTS, Written, check_list, matches, verify_hashes

TOKENS = "*.tokens.bin"
# Large files are the ranks' to verify; the step that starts them verifies the others.
LARGE = (WEIGHTS, TOKENS)
# Training does not read the test split.
NOT_READ = ("test.*",)


def verify_share(
    base: Path, tokens: Path, plan: dict[str, Any], heartbeat: Heartbeat
) -> None:
    """Verify this rank's share of the large files.

    Args:
        base: The base model's folder.
        tokens: The folder that `tokenize` wrote.
        plan: What `configure` resolved.
        heartbeat: Beats while files are read.

    Raises:
        RetuneError: If the bytes of one are not those that were written.
    """
    ranks = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    rank = int(os.environ["LOCAL_RANK"]) % ranks
    threads = max(1, len(os.sched_getaffinity(0)) // ranks)
    folders = {tokens: "tokenize"}
    # Under ZeRO-3 rank 0 reads the weights, for all.
    if plan["zero_stage"] != 3 or int(os.environ["RANK"]) < ranks:
        folders[base] = "fetch"
    for folder, step in folders.items():
        files = [
            file
            for file in check_list(folder, step)
            if matches(file, LARGE) and not matches(file, NOT_READ)
        ]
        share = share_of(files, rank, ranks)
        verify_hashes(share, step, threads, heartbeat.go_on)


def share_of(files: list[Written], rank: int, ranks: int) -> list[Written]:
    """Return one rank's files; all ranks together have them all, about as many bytes.

    Args:
        files: The same on all ranks.
        rank: Number of the rank, from 0, of those that share.
        ranks: How many share.
    """
    shares: list[list[Written]] = [[] for _ in range(ranks)]
    for file in sorted(files, key=lambda file: -file.size):
        least = min(shares, key=lambda share: sum(other.size for other in share))
        least.append(file)
    return shares[rank]
