"""What copies of a model are given to do; their processes import it by its name."""

import os
import signal
import sys
import time
from pathlib import Path

from retune.artifacts.model_facts import ModelFacts
from retune.errors import RetuneError
from retune.evaluation.language_model import LoadedModel
from retune.evaluation.model_copies import opened
from retune.evaluation.placement import Placement

TWO = [Placement(), Placement()]


def meet(model: LoadedModel, folder: Path) -> int:
    """Return the number of this process, once another one does this, too."""
    (folder / str(os.getpid())).touch()
    while len(list(folder.iterdir())) < len(TWO):
        time.sleep(0.01)
    return os.getpid()


def refuse_the_second(model: LoadedModel, batch: int) -> int:
    """Return the batch, or raise an error for batch 1."""
    if batch == 1:
        raise RetuneError("batch 1 is refused")
    return batch


def be_killed(model: LoadedModel, batch: int) -> int:
    """End this process as the kernel does when memory runs out."""
    os.kill(os.getpid(), signal.SIGKILL)
    return batch


def start_copies_and_be_killed(folder: Path, place: Path) -> None:
    """Print the numbers of the copies' processes, and end without ending them."""
    with opened(folder, ModelFacts.read(folder), TWO) as copies:
        print(*(number for _, number in copies.each(meet, [place] * 2)), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    start_copies_and_be_killed(*map(Path, sys.argv[1:]))
