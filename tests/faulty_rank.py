"""A real rank in which rank 1 goes wrong at a step: `python faulty_rank.py FAULT ...`.

The rest of the command line is that of `python -m retune.training.rank`.
"""

import os
import resource
import sys
import time

from retune.supervision.out_of_memory import read_gigabytes
from retune.training import rank
from retune.units import GB

AT_STEP = 3
LESS_BYTES = 120_000_000


def fail():
    raise ValueError("the data is on fire")


def hang():
    time.sleep(1000)


def limit_memory():
    """Leave this process less address space than it has had, or so much as is told."""
    if told := os.environ.get("MEMORY_LIMIT"):
        size = int(told)
    else:
        size = int(read_gigabytes("/proc/self/status", "VmPeak") * GB) - LESS_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (size, size))


FAULTS = {"fail": fail, "hang": hang, "limit-memory": limit_memory}


def inject(fault):
    """Make rank 1 go wrong in the forward pass of step 3."""
    from retune.engines.data_parallel import DataParallel

    loss_sum = DataParallel.loss_sum

    def faulty_loss_sum(self, batch):
        if self.engine.global_steps == AT_STEP - 1 and self.data_rank == 1:
            fault()
        return loss_sum(self, batch)

    DataParallel.loss_sum = faulty_loss_sum


if __name__ == "__main__":
    inject(FAULTS[sys.argv.pop(1)])
    code = rank.main()
    sys.stderr.flush()
    os._exit(code)
