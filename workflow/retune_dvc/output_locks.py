"""While steps run: keeps other DVC commands away from what they write and read.

DVC's commands lock the files they work on. With locks of ours, `dvc repro` or
`dvc commit` of a step refuses before it deletes anything, and names this run. DVC drops
the locks of a process that has ended.
"""

import atexit
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from importlib.util import find_spec

from retune_dvc.dvc_internals import LOCKS, lock_paths
from retune_dvc.errors import UnknownStateError


def can_lock() -> bool:
    """Return whether DVC has commands here that are to be kept away."""
    return LOCKS.parent.is_dir() and find_spec("dvc") is not None


class OutputLocks:
    """The locks on the outputs of steps, by step."""

    def __init__(self) -> None:
        """Hold no lock yet."""
        self._locks: dict[str, AbstractContextManager[None]] = {}
        atexit.register(self.unlock_all)

    def lock(self, step: str, outs: Iterable[str], to_write: bool) -> None:
        """Lock a step's outputs.

        Args:
            step: Name of the step.
            outs: Paths of its outputs.
            to_write: Whether DVC may not even read them.

        Raises:
            UnknownStateError: If a DVC command works on them now.
        """
        lock = lock_paths(list(outs), to_write)
        lock.__enter__()
        self._locks[step] = lock

    @contextmanager
    def unlocked(self, step: str, outs: Iterable[str]) -> Iterator[None]:
        """Let DVC work on a step's outputs for a while; after that it may read them."""
        self.unlock(step)
        try:
            yield
        finally:
            # Another DVC command that was quicker knows what it does.
            with suppress(UnknownStateError):
                self.lock(step, outs, to_write=False)

    def unlock(self, step: str) -> None:
        """Let DVC work on a step's outputs again."""
        if lock := self._locks.pop(step, None):
            lock.__exit__(None, None, None)

    def unlock_all(self) -> None:
        """Let DVC work on everything again."""
        for step in list(self._locks):
            self.unlock(step)
