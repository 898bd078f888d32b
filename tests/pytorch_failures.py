"""What goes wrong in PyTorch, on purpose, each in a process of its own."""

import os
import resource
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist


def save_at_most(path: Path, size: int) -> None:
    """Save a tensor where a file may not have more than some bytes."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    torch.save(torch.zeros(200_000), path)


def leave(port: int) -> None:
    """Join as rank 1, then end without a word."""
    join(1, port)
    os._exit(0)


def wait_for_lost_rank(port: int) -> None:
    """Join as rank 0 and wait for rank 1, which ends."""
    join(0, port)
    dist.barrier()


def join(rank: int, port: int) -> None:
    """Join a process group of two ranks."""
    limit = timedelta(seconds=60)
    store = dist.TCPStore("127.0.0.1", port, 2, is_master=rank == 0, timeout=limit)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=2, timeout=limit)
