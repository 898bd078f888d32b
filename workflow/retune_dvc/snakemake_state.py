"""What Snakemake takes for up to date and for stale, and how to change its mind.

It goes by times of files and by its own records under .snakemake. A run changes these;
a command that only shows something, as a dry run does, must leave every file as it is,
so its Snakemake is given other times and records in memory.
"""

import os
from abc import ABC, abstractmethod
from contextlib import suppress

from retune_dvc.commands import call_snakemake
from retune_dvc.errors import UnknownStateError
from retune_dvc.file_times import get_time, set_time, time_made
from retune_dvc.stages import Stage
from retune_dvc.step_rules import StepRules

# Older than anything that a step reads.
STALE_NS = 10**9


class SnakemakeState(ABC):
    """What Snakemake knows of the outputs of steps."""

    def __init__(self, stages: dict[str, Stage], rules: StepRules) -> None:
        """Take the steps.

        Args:
            stages: The stages of dvc.yaml by name, in the order of the run.
            rules: The steps as rules.
        """
        self._stages = stages
        self._rules = rules

    def make_up_to_date(self, names: list[str], timed: list[str]) -> None:
        """Let Snakemake believe that it made these steps' outputs as they are.

        Outputs become as old as they are, but no older than what they were made of.

        Args:
            names: The steps whose outputs are right.
            timed: The steps that get new times, these included, in the order of the
                run.
        """
        # Before anything changes the times of files.
        made = {name: time_made(self._rules.timed_files(name)) for name in timed}
        self.record(names)
        for name, made_ns in made.items():
            # Of code Snakemake compares checksums, of all else only times.
            time = max([made_ns, *map(self.get_time, self._stages[name].deps)])
            for path in filter(os.path.exists, self._rules.timed_files(name)):
                self.set_time(path, time)

    def make_stale(self, names: list[str]) -> None:
        """Make Snakemake forget how it made these steps' outputs."""
        paths = [path for name in names for path in self._rules.timed_files(name)]
        self.forget(paths)
        for path in filter(os.path.exists, paths):
            self.set_time(path, STALE_NS)

    @abstractmethod
    def record(self, names: list[str]) -> None:
        """Have Snakemake's records say that these steps made their outputs."""

    @abstractmethod
    def forget(self, paths: list[str]) -> None:
        """Remove outputs from Snakemake's records."""

    @abstractmethod
    def get_time(self, path: str) -> int:
        """Return the time that Snakemake sees, in ns; 0 if there is nothing."""

    @abstractmethod
    def set_time(self, path: str, time: int) -> None:
        """Set the time that Snakemake sees, in ns."""


class StoredState(SnakemakeState):
    """The state on the disk, for a run of steps."""

    def record(self, names: list[str]) -> None:
        """Have `snakemake --touch` write its records: params, inputs, checksums.

        Raises:
            UnknownStateError: If that fails.
        """
        rules = self._rules.rules_of(names)
        call_snakemake(
            self._rules.snakefile,
            *["--touch", "--forceall", "--cores", "1"],
            *["--allowed-rules", *rules, "--", *rules],
        )

    def forget(self, paths: list[str]) -> None:
        """Have `snakemake --cleanup-metadata` remove its records."""
        # It fails where there was nothing to forget, after it has forgotten the rest.
        with suppress(UnknownStateError):
            call_snakemake(self._rules.snakefile, "--cleanup-metadata", *paths)

    def get_time(self, path: str) -> int:
        """Return the time of a file or folder, in ns; 0 if there is nothing."""
        return get_time(path)

    def set_time(self, path: str, time: int) -> None:
        """Set the time of a file or folder, in ns."""
        set_time(path, time)


class PlannedState(SnakemakeState):
    """The state in memory, for a command that only shows something.

    Attributes:
        times: Times that Snakemake is to see in place of the real ones, ns, by path.
        unrecorded: Paths of outputs whose records Snakemake is not to see. Where there
            is none it goes by times alone.
    """

    def __init__(self, stages: dict[str, Stage], rules: StepRules) -> None:
        """Take the steps; nothing differs from the disk yet."""
        super().__init__(stages, rules)
        self.times: dict[str, int] = {}
        self.unrecorded: set[str] = set()

    def record(self, names: list[str]) -> None:
        """Have Snakemake go by the times of these steps' outputs alone."""
        for name in names:
            self.unrecorded.update(self._rules.outputs[name])

    def forget(self, paths: list[str]) -> None:
        """Have Snakemake see no records of these outputs."""
        self.unrecorded.update(paths)

    def get_time(self, path: str) -> int:
        """Return the time that Snakemake is to see, in ns; 0 if there is nothing."""
        return self.times[path] if path in self.times else get_time(path)

    def set_time(self, path: str, time: int) -> None:
        """Have Snakemake see another time, in ns."""
        self.times[path] = time
