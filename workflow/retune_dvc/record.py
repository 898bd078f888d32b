"""When a step ends: writes what it made to dvc.lock and DVC's cache."""

import os
from collections.abc import Iterable

from retune.step_code import hash_code
from retune_dvc.commands import call_dvc
from retune_dvc.dvc_files import read_lock
from retune_dvc.dvc_internals import drop_damaged_objects, would_restore
from retune_dvc.errors import UnknownStateError
from retune_dvc.file_times import kept_times
from retune_dvc.fingerprints import fingerprint_files
from retune_dvc.last_seen import state_of, write_last_seen
from retune_dvc.output_locks import OutputLocks, can_lock
from retune_dvc.reconcile import Reconciled, is_resolved
from retune_dvc.resolve import RESOLVE_STAGE, RESOLVED_FILES
from retune_dvc.run_cache import CACHED
from retune_dvc.snakemake_state import StoredState
from retune_dvc.stages import with_what_follows


class Recorder:
    """Follows the steps of a run."""

    def __init__(self, run: Reconciled) -> None:
        """Go on with what `reconcile` found."""
        self.not_recorded = run.not_recorded
        self._run = run
        self._locks = OutputLocks()
        self._inputs: dict[str, str] = {}
        self._finished: set[str] = set()
        self._pending: dict[str, str] = {}
        self._changed_meanwhile: list[str] = []

    def lock_outputs(self, steps: Iterable[str]) -> None:
        """Keep other DVC commands away from the outputs of all steps.

        They may read the outputs of those that this run does not make.

        Args:
            steps: The steps that this run makes.

        Raises:
            UnknownStateError: If one works on any of it now.
        """
        to_write = set(steps)
        if not can_lock():
            return
        try:
            self._locks.lock(RESOLVE_STAGE, RESOLVED_FILES, to_write=False)
            for step, stage in self._run.stages.items():
                self._locks.lock(step, stage.outs, to_write=step in to_write)
        except UnknownStateError:
            self._locks.unlock_all()
            raise

    def started(self, step: str, forced: bool) -> None:
        """Note the inputs with which a step starts, and whether DVC has its result.

        Args:
            step: Name of the step.
            forced: Whether the user wants it run even so.
        """
        if step not in self._run.stages:
            return
        self._inputs[step] = self._state_of_inputs(step)
        (CACHED / step).unlink(missing_ok=True)
        if not forced and not self.not_recorded and would_restore(step):
            self._locks.unlock(step)  # its job works on them as DVC
            CACHED.mkdir(parents=True, exist_ok=True)
            (CACHED / step).touch()

    def finished(self, step: str) -> None:
        """Record a step that has ended well."""
        stages, seen = self._run.stages, self._run.seen
        if step not in stages or step in self._finished:
            return
        self._finished.add(step)
        (CACHED / step).unlink(missing_ok=True)
        for follower in with_what_follows([step], stages):
            seen[follower].state = ""  # the next run has to ask DVC
        if self._state_of_inputs(step) == self._inputs.get(step):
            seen[step].made = fingerprint_files(stages[step].outs)
            write_last_seen(seen)
            if not self.not_recorded:
                self._try_to_record(step)
        else:
            seen[step].made = ""
            write_last_seen(seen)
            self._changed_meanwhile.append(step)

    def ended(self, finished: Iterable[str]) -> list[str]:
        """Record what is left at the end of a run; return lines for the user."""
        for step in self._known(finished):
            self.finished(step)
        for step in self._known(self._pending):
            self._try_to_record(step)
        self._locks.unlock_all()
        if self._changed_meanwhile:
            StoredState(self._run.stages, self._run.rules).make_stale(
                self._changed_meanwhile
            )
        return [
            f"not recorded with DVC: {step}: {reason}; the next run tries again"
            for step, reason in self._pending.items()
        ] + [
            f"{step} is to run again: code or data it reads changed while it ran"
            for step in self._changed_meanwhile
        ]

    def _known(self, steps: Iterable[str]) -> list[str]:
        steps = set(steps)
        return [step for step in self._run.stages if step in steps]

    def _state_of_inputs(self, step: str) -> str:
        """Return a fingerprint of the data and code that a step reads."""
        return fingerprint_files(self._run.stages[step].deps) + hash_code(step)

    def _try_to_record(self, step: str) -> None:
        try:
            self._record(step)
        except UnknownStateError as error:
            # Tried again when no step runs any more: others read its outputs now.
            self._pending[step] = str(error)
        else:
            self._pending.pop(step, None)

    def _record(self, step: str) -> None:
        """Record one step.

        Raises:
            UnknownStateError: If that cannot be done now.
        """
        stage, seen = self._run.stages[step], self._run.seen[step]
        if not is_resolved(step, self._run):
            raise UnknownStateError(
                self._run.not_compared
                or "another run has written resolved/ since this one began"
            )
        if fingerprint_files(stage.outs) != seen.made:
            raise UnknownStateError("somebody changed its outputs")
        outputs = self._run.rules.outputs[step]
        with (
            self._locks.unlocked(step, stage.outs),
            kept_times([path for path in outputs if os.path.isfile(path)]),
        ):
            drop_damaged_objects(step)
            call_dvc("commit", "--force", step)
        seen.made = fingerprint_files(stage.outs)
        seen.state = state_of(step, stage, read_lock(), self._run.resolved)
        seen.clean = True
        write_last_seen(self._run.seen)
