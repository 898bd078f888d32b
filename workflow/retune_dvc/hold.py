"""While steps run: keeps other DVC commands away from what they write.

DVC's commands lock the files they work on in .dvc/tmp/rwlock. With entries of ours
there, `dvc repro` or `dvc commit` of a step that Snakemake is to run refuses before it
deletes anything, and names this run. DVC drops the entries of a process that has ended.
"""

from contextlib import AbstractContextManager
from pathlib import Path

from retune_dvc.commands import DoubtError

TMP = Path(".dvc/tmp")


class Hold:
    """The outputs that are held, by step."""

    def __init__(self) -> None:
        """Hold nothing yet."""
        self._held: dict[str, AbstractContextManager[None]] = {}

    def take(self, step: str, outs: tuple[str, ...]) -> None:
        """Hold a step's outputs.

        Raises:
            DoubtError: If a DVC command works on them now.
        """
        from dvc.fs import localfs
        from dvc.lock import LockError
        from dvc.rwlock import rwlock

        TMP.mkdir(parents=True, exist_ok=True)
        paths = [str(Path(path).absolute()) for path in outs]
        lock = rwlock(str(TMP.absolute()), localfs, "snakemake", [], paths, False)
        try:
            lock.__enter__()
        except LockError as error:
            blocker = next(
                (line.strip() for line in str(error).splitlines() if "(PID" in line),
                "",
            )
            raise DoubtError(f"DVC is at work on {outs[0]}: {blocker}") from error
        self._held[step] = lock

    def release(self, step: str) -> None:
        """Let DVC at a step's outputs again."""
        if lock := self._held.pop(step, None):
            lock.__exit__(None, None, None)

    def release_all(self) -> None:
        """Let DVC at everything again."""
        for step in list(self._held):
            self.release(step)
