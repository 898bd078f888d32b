"""While steps run: keeps other DVC commands away from what they write and read.

DVC's commands lock the files they work on in .dvc/tmp/rwlock. With entries of ours
there, `dvc repro` or `dvc commit` of a step refuses before it deletes anything, and
names this run. DVC drops the entries of a process that has ended.
"""

import atexit
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

from retune_dvc.commands import DoubtError

TMP = Path(".dvc/tmp")


def can_hold() -> bool:
    """Return whether DVC has commands here that are to be kept away."""
    return TMP.parent.is_dir() and find_spec("dvc") is not None


class Hold:
    """The outputs that are held, by step."""

    def __init__(self) -> None:
        """Hold nothing yet."""
        self._held: dict[str, AbstractContextManager[None]] = {}
        atexit.register(self.release_all)

    def take(self, step: str, outs: Iterable[str], to_write: bool) -> None:
        """Hold a step's outputs.

        Args:
            step: Its name.
            outs: Its outputs.
            to_write: Whether DVC may not even read them.

        Raises:
            DoubtError: If a DVC command works on them now.
        """
        from dvc.fs import localfs
        from dvc.lock import LockError
        from dvc.rwlock import rwlock

        TMP.mkdir(parents=True, exist_ok=True)
        first, *_ = outs = list(outs)
        paths = [str(Path(path).absolute()) for path in outs]
        read, write = ([], paths) if to_write else (paths, [])
        lock = rwlock(str(TMP.absolute()), localfs, "snakemake", read, write, False)
        try:
            lock.__enter__()
        except LockError as error:
            blocker = next(
                (line.strip() for line in str(error).splitlines() if "(PID" in line),
                "",
            )
            raise DoubtError(f"DVC is at work on {first}: {blocker}") from error
        self._held[step] = lock

    @contextmanager
    def left_to_dvc(self, step: str, outs: Iterable[str]) -> Iterator[None]:
        """Let DVC at a step's outputs for a while; after that it may read them."""
        self.release(step)
        try:
            yield
        finally:
            # Another DVC command that was quicker knows what it does.
            with suppress(DoubtError):
                self.take(step, outs, to_write=False)

    def release(self, step: str) -> None:
        """Let DVC at a step's outputs again."""
        if lock := self._held.pop(step, None):
            lock.__exit__(None, None, None)

    def release_all(self) -> None:
        """Let DVC at everything again."""
        for step in list(self._held):
            self.release(step)
