"""Items are made ahead, in order, in a thread that ends."""

import threading
import time

import pytest

from retune.tokens.prefetch import Prefetcher, with_results


def threads():
    return [t for t in threading.enumerate() if t.name.startswith("prefetch")]


@pytest.mark.parametrize("ahead", [1, 2, 7, 50])
def test_items_come_in_order_whatever_is_ahead(ahead):
    with Prefetcher(lambda step: step * step, 3, 20, ahead) as items:
        assert list(items) == [step * step for step in range(3, 20)]
        assert list(items) == []


def test_nothing_to_do_is_no_item():
    with Prefetcher(lambda step: step, 5, 5) as items:
        assert list(items) == []


def test_at_most_ahead_are_made_before_they_are_wanted():
    made = []
    with Prefetcher(made.append, 0, 100, ahead=3) as items:
        deadline = time.monotonic() + 10
        while len(made) < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.05)
        assert made == [0, 1, 2]
        next(items)
        time.sleep(0.05)
        assert made == [0, 1, 2, 3]
    assert made == [0, 1, 2, 3]


def test_items_are_made_while_the_loop_computes():
    def make(step):
        time.sleep(0.05)
        return step

    with Prefetcher(make, 0, 8) as items:
        waits = []
        for _ in items:
            waits.append(items.waited)
            time.sleep(0.1)
    assert waits[0] > 0.03
    # Half of what making them takes.
    assert sum(waits[2:]) < 0.15


def test_an_error_is_raised_in_its_place_and_ends_the_thread():
    def make(step):
        if step == 2:
            raise KeyError("block 7")
        return step

    seen = []

    def loop():
        with Prefetcher(make, 0, 9, ahead=5) as items:
            for item in items:
                seen.append(item)

    with pytest.raises(KeyError, match="block 7"):
        loop()
    assert seen == [0, 1]
    assert not threads()


def test_leaving_early_ends_the_thread():
    started = time.monotonic()
    with Prefetcher(lambda step: time.sleep(0.1), 0, 10**9, ahead=50) as items:
        next(items)
        assert threads()
    assert not threads()
    assert time.monotonic() - started < 2


def test_an_abandoned_one_ends_too():
    items = Prefetcher(lambda step: step, 0, 10**9)
    next(items)
    del items
    deadline = time.monotonic() + 10
    while threads() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not threads()


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("number", [0, 1, 2, 20])
def test_items_come_with_their_results_in_order(threads, number):
    pairs = with_results(lambda item: item * item, range(number), threads)
    assert list(pairs) == [(item, item * item) for item in range(number)]


def test_results_are_computed_while_an_item_is_used():
    together = threading.Barrier(2, timeout=10)
    in_use = threading.Event()
    made = []

    def compute(item):
        if item < 2:
            together.wait()
        elif item == 2:
            assert in_use.wait(timeout=10)
        made.append(item)

    def items():
        for item in range(9):
            assert item <= len(taken) + 2, "no more than two ahead of the one in use"
            yield item

    taken = []
    for item, _ in with_results(compute, items(), threads=2):
        taken.append(item)
        in_use.set()
    assert taken == sorted(made) == list(range(9))


def test_an_error_of_a_result_is_raised_in_its_place():
    def compute(item):
        if item == 2:
            raise KeyError("row 7")
        return item

    pairs = with_results(compute, range(9))
    assert [next(pairs), next(pairs)] == [(0, 0), (1, 1)]
    with pytest.raises(KeyError, match="row 7"):
        next(pairs)
    assert not [t for t in threading.enumerate() if t.name.startswith("with-results")]
