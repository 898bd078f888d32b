"""When a step ends: writes what it made to dvc.lock and DVC's cache."""

import os
from collections.abc import Iterable

from retune.stages import with_what_follows
from retune_dvc.commands import DoubtError, call_dvc
from retune_dvc.damaged import drop_damaged
from retune_dvc.fingerprints import fingerprint_files
from retune_dvc.hold import Hold
from retune_dvc.marks import kept_times, mark_stale
from retune_dvc.memory import read_lock, read_settings, remember, state_of
from retune_dvc.reconcile import Look
from retune_dvc.recordable import is_of_the_file
from retune_dvc.run_cache import CACHED, would_restore


class Recorder:
    """Follows the steps of a run."""

    def __init__(self, look: Look) -> None:
        """Go on with what `reconcile` found."""
        self.problem = look.problem
        self._look = look
        self._hold = Hold()
        self._inputs: dict[str, str] = {}
        self._finished: set[str] = set()
        self._pending: dict[str, str] = {}
        self._doubtful: list[str] = []

    def hold(self, steps: Iterable[str]) -> None:
        """Keep other DVC commands away from what these steps are to write.

        Raises:
            DoubtError: If one works on it now.
        """
        try:
            for step in self._known(steps):
                self._hold.take(step, self._look.stages[step].outs)
        except DoubtError:
            self._hold.release_all()
            raise

    def started(self, step: str, forced: bool) -> None:
        """Note the inputs with which a step starts, and whether DVC has its result.

        Args:
            step: Its name.
            forced: Whether the user wants it run even so.
        """
        if step not in self._look.stages:
            return
        self._inputs[step] = fingerprint_files(self._look.stages[step].deps)
        (CACHED / step).unlink(missing_ok=True)
        if not forced and not self.problem and would_restore(step):
            self._hold.release(step)  # its job works on them as DVC
            CACHED.mkdir(parents=True, exist_ok=True)
            (CACHED / step).touch()

    def finished(self, step: str) -> None:
        """Record a step that has ended well."""
        stages, memories = self._look.stages, self._look.memories
        if step not in stages or step in self._finished:
            return
        self._finished.add(step)
        self._hold.release(step)
        (CACHED / step).unlink(missing_ok=True)
        for follower in with_what_follows([step], stages):
            memories[follower].state = ""  # the next look has to ask
        if fingerprint_files(stages[step].deps) == self._inputs.get(step):
            memories[step].made = fingerprint_files(stages[step].outs)
            remember(memories)
            if not self.problem:
                self._try_to_record(step)
        else:
            memories[step].made = ""
            remember(memories)
            self._doubtful.append(step)

    def ended(self, finished: Iterable[str]) -> list[str]:
        """Settle what is left at the end of a run; return what the user should know."""
        for step in self._known(finished):
            self.finished(step)
        self._hold.release_all()
        for step in self._known(self._pending):
            self._try_to_record(step)
        if self._doubtful:
            mark_stale(self._doubtful, self._look.outputs)
        return [
            f"not recorded with DVC: {step}: {reason}; the next run tries again"
            for step, reason in self._pending.items()
        ] + [
            f"{step} is to run again: code or data it reads changed while it ran"
            for step in self._doubtful
        ]

    def _known(self, steps: Iterable[str]) -> list[str]:
        steps = set(steps)
        return [step for step in self._look.stages if step in steps]

    def _try_to_record(self, step: str) -> None:
        try:
            self._record(step)
        except DoubtError as doubt:
            # Tried again when no step runs any more: others read its outputs now.
            self._pending[step] = str(doubt)
        else:
            self._pending.pop(step, None)

    def _record(self, step: str) -> None:
        """Record one step.

        Raises:
            DoubtError: If that cannot be done now.
        """
        stages, memory = self._look.stages, self._look.memories[step]
        if not is_of_the_file(self._look.used, stages[step].params):
            raise DoubtError("params.yaml was changed since the run began")
        if fingerprint_files(stages[step].outs) != memory.made:
            raise DoubtError("somebody changed its outputs")
        with kept_times([p for p in self._look.outputs[step] if os.path.isfile(p)]):
            drop_damaged(step)
            call_dvc("commit", "--force", step)
        memory.made = fingerprint_files(stages[step].outs)
        memory.state = state_of(step, stages, read_lock(), read_settings())
        memory.clean = True
        remember(self._look.memories)
