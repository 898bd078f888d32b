"""Copies of a model in processes of their own, which share the work of an evaluation.

Each process does a batch at a time, and gets the next one when it is done. The batches
are those that a single process would do, and so are their results.
"""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

import torch

from retune.artifacts.model_facts import ModelFacts
from retune.errors import RetuneError
from retune.evaluation.language_model import (
    Batch,
    LanguageModel,
    LoadedModel,
    Result,
    load_model,
)
from retune.evaluation.placement import Placement
from retune.tokens.tokenizer import ModelTokenizer

# Seconds until a process that has closed its connection has an exit code.
EXIT_S = 10


@contextmanager
def opened(
    folder: Path, facts: ModelFacts, placements: Sequence[Placement]
) -> Iterator[LanguageModel]:
    """Yield a model that is computed by as many copies as there are placements.

    One copy is loaded into this process. Several are loaded by processes, of which none
    is left after the block.

    Args:
        folder: Folder of the model.
        facts: Facts of the base model.
        placements: Where the copies are computed; all have the same data type.
    """
    if len(placements) == 1:
        yield load_model(folder, facts, placements[0])
        return
    copies = ModelCopies(
        ModelTokenizer.of(folder, facts),
        folder,
        facts,
        placements[0].dtype,
        placements[0].device,
        tuple(placements),
    )
    try:
        yield copies
    finally:
        for worker in copies.workers:
            worker.process.kill()
            worker.process.join()


@dataclass
class Worker:
    """A process with a copy of the model.

    Attributes:
        process: The process.
        connection: Connection to it.
        placement: Where its copy is computed.
        is_busy: Whether it loads its copy, or has a batch to do.
    """

    process: SpawnProcess
    connection: Connection
    placement: Placement
    is_busy: bool = True


@dataclass(frozen=True)
class ModelCopies(LanguageModel):
    """A model whose copies are in other processes.

    Attributes:
        placements: Where the copies are computed.
        workers: The processes that have been started.
    """

    placements: tuple[Placement, ...]
    workers: list[Worker] = field(default_factory=list)

    def each(
        self, work: Callable[[LoadedModel, Batch], Result], batches: Sequence[Batch]
    ) -> Iterator[tuple[int, Result]]:
        """Yield the number of each batch and its result, in the order of their ends.

        Raises:
            RetuneError: If a process raises it, or ends.
        """
        self._start(min(len(batches), len(self.placements)))
        todo = iter(enumerate(batches))

        def give_next(worker: Worker) -> None:
            if (numbered := next(todo, None)) is not None:
                worker.is_busy = True
                talk(worker, lambda: worker.connection.send((work, *numbered)))

        for worker in self.workers:
            if not worker.is_busy:
                give_next(worker)
        done = 0
        while done < len(batches):
            ready = wait([worker.connection for worker in self.workers])
            for worker in self.workers:
                if worker.connection not in ready:
                    continue
                answer = talk(worker, worker.connection.recv)
                worker.is_busy = False
                give_next(worker)
                # The first answer of a process only says that it has loaded its copy.
                if answer is not None:
                    done += 1
                    yield answer

    def _start(self, number: int) -> None:
        """Start processes until there are so many."""
        context = multiprocessing.get_context("spawn")
        threads = max(1, torch.get_num_threads() // len(self.placements))
        for placement in self.placements[len(self.workers) : number]:
            ours, theirs = context.Pipe()
            process = context.Process(
                target=serve,
                args=(theirs, self.folder, self.facts, placement, threads),
                daemon=True,
            )
            process.start()
            # Now the end of the process closes the connection.
            theirs.close()
            self.workers.append(Worker(process, ours, placement))


def talk(worker: Worker, exchange: Callable[[], Any]) -> Any:
    """Return what an exchange with a process returns.

    Raises:
        RetuneError: If the process raised it, or has ended.
    """
    try:
        answer = exchange()
    except (EOFError, OSError):
        worker.process.join(EXIT_S)
        raise RetuneError(
            f"the process that computes the model on {worker.placement}"
            f" {how_it_ended(worker.process.exitcode)}"
        ) from None
    if isinstance(answer, RetuneError):
        raise answer
    return answer


def how_it_ended(code: int | None) -> str:
    """Return what the exit code of a process says; -N after signal N."""
    if code is None or code >= 0:
        return f"ended with exit code {code}; the log may say why"
    hint = " (the kernel does that when main memory runs out)"
    name = signal.Signals(-code).name
    return f"was killed by {name}{hint if -code == signal.SIGKILL else ''}"


def serve(
    connection: Connection,
    folder: Path,
    facts: ModelFacts,
    placement: Placement,
    threads: int,
) -> None:
    """Load a copy of a model and do batches with it, until nobody asks for more.

    Args:
        connection: Connection to the step's process. When that ends, so does this one.
        folder: Folder of the model.
        facts: Facts of the base model.
        placement: Where the copy is computed.
        threads: Number of threads to compute with.
    """
    # Ctrl-C comes to all processes of a terminal; the step ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # stdout is for the step's progress bar; what libraries print goes to the log.
    os.dup2(2, 1)
    torch.set_num_threads(threads)
    model = result_or_error(partial(load_model, folder, facts, placement))
    answer: Any = model if isinstance(model, RetuneError) else None
    while True:
        try:
            connection.send(answer)
            if isinstance(answer, RetuneError):
                return
            work, number, batch = connection.recv()
        except (EOFError, OSError):
            # The step's process has ended.
            return
        result = result_or_error(partial(work, model, batch))
        answer = result if isinstance(result, RetuneError) else (number, result)


def result_or_error(function: Callable[[], Result]) -> Result | RetuneError:
    """Return what a function returns, or the error for people that it raises."""
    try:
        return function()
    except RetuneError as error:
        return error
