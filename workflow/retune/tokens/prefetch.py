"""Prepares what comes next while the current step or batch is used."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Prefetcher(Generic[Item]):
    """Iterator over make(first), ..., make(last - 1), which run ahead in one thread.

    They run in this order, one at a time, until `ahead` items wait to be taken. What
    make() raises is raised where its item would have come. make() must draw no random
    numbers from a state that the loop uses, and must not use the accelerator, except to
    pin memory.

        with Prefetcher(shard.step_data, first, total) as steps:
            for data in steps:
                ...

    Attributes:
        waited: Seconds that the loop waited for the last item it took.
    """

    def __init__(
        self, make: Callable[[int], Item], first: int, last: int, ahead: int = 2
    ) -> None:
        """Start to prepare the first items.

        Args:
            make: Returns the item of a number.
            first: First number.
            last: Number after the last one.
            ahead: Number of items that are prepared before they are taken.
        """
        self.waited = 0.0
        self._make = make
        self._numbers = iter(range(first, last))
        self._coming: deque[Future[Item]] = deque()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="prefetch")
        for _ in range(ahead):
            self._prepare_next()

    def __iter__(self) -> Iterator[Item]:
        """Return itself."""
        return self

    def __next__(self) -> Item:
        """Return the next item; wait if it is not ready."""
        if not self._coming:
            raise StopIteration
        start = time.perf_counter()
        item = self._coming.popleft().result()
        self.waited = time.perf_counter() - start
        self._prepare_next()
        return item

    def __enter__(self) -> "Prefetcher[Item]":
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the thread once it has finished the item that it works on."""
        self._thread.shutdown(cancel_futures=True)

    def _prepare_next(self) -> None:
        number = next(self._numbers, None)
        if number is not None:
            self._coming.append(self._thread.submit(self._make, number))


def with_results(
    compute: Callable[[Item], Result], items: Iterable[Item], threads: int = 2
) -> Iterator[tuple[Item, Result]]:
    """Yield each item with what compute() makes of it, in their order.

    While an item is used, compute() works on the next ones, each in a thread. The items
    themselves are made in the thread that uses them, before they are wanted: what
    making one raises comes in the place of an earlier one.

    Args:
        compute: What runs in the threads. It is worth it if it lets go of Python's
            lock, as `tokenizers` does.
        items: The items.
        threads: Number of threads.
    """
    pool = ThreadPoolExecutor(threads, thread_name_prefix="with-results")
    coming: deque[tuple[Item, Future[Result]]] = deque()
    try:
        for item in items:
            coming.append((item, pool.submit(compute, item)))
            if len(coming) > threads:
                first, future = coming.popleft()
                yield first, future.result()
        for first, future in coming:
            yield first, future.result()
    finally:
        pool.shutdown(cancel_futures=True)
