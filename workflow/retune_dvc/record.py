"""When a step ends: writes what it made to dvc.lock and DVC's cache."""

import os
from collections.abc import Iterable

from retune.stages import with_what_follows
from retune_dvc.commands import DoubtError, call_dvc
from retune_dvc.damaged import drop_damaged
from retune_dvc.fingerprints import fingerprint_files
from retune_dvc.hold import Hold, can_hold
from retune_dvc.marks import kept_times, mark_stale
from retune_dvc.memory import read_lock, remember, state_of
from retune_dvc.reconcile import Look, is_resolved
from retune_dvc.resolve import RESOLVE_STAGE, RESOLVED_FILES
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
        """Keep other DVC commands away from what these steps write, and from all else.

        Of the steps that this run does not make they may read the outputs.

        Raises:
            DoubtError: If one works on any of it now.
        """
        to_write = set(steps)
        if not can_hold():
            return
        try:
            self._hold.take(RESOLVE_STAGE, RESOLVED_FILES, to_write=False)
            for step, stage in self._look.stages.items():
                self._hold.take(step, stage.outs, to_write=step in to_write)
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
        self._inputs[step] = self._state_of_inputs(step)
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
        (CACHED / step).unlink(missing_ok=True)
        for follower in with_what_follows([step], stages):
            memories[follower].state = ""  # the next look has to ask
        if self._state_of_inputs(step) == self._inputs.get(step):
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
        for step in self._known(self._pending):
            self._try_to_record(step)
        self._hold.release_all()
        if self._doubtful:
            mark_stale(self._doubtful, self._look.workflow)
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

    def _state_of_inputs(self, step: str) -> str:
        """Return what changes with data or code that a step reads."""
        read = [*self._look.stages[step].deps, *self._look.workflow.code[step]]
        return fingerprint_files(read)

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
        stage, memory = self._look.stages[step], self._look.memories[step]
        if not is_resolved(step, self._look):
            raise DoubtError(
                self._look.doubt
                or "another run has written resolved/ since this one began"
            )
        if fingerprint_files(stage.outs) != memory.made:
            raise DoubtError("somebody changed its outputs")
        outputs = self._look.workflow.outputs[step]
        with (
            self._hold.left_to_dvc(step, stage.outs),
            kept_times([path for path in outputs if os.path.isfile(path)]),
        ):
            drop_damaged(step)
            call_dvc("commit", "--force", step)
        memory.made = fingerprint_files(stage.outs)
        memory.state = state_of(step, stage, read_lock(), self._look.resolved)
        memory.clean = True
        remember(self._look.memories)
