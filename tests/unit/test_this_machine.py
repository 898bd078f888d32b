"""Starting, following and ending ranks: real processes, that train nothing."""

import os
import signal
import sys
import time

import pytest

from retune.artifacts.memory_shortage import MemoryShortage
from retune.compat.pytorch_errors import requested_bytes
from retune.errors import RetuneError, Stopped
from retune.launching import this_machine
from retune.supervision.failures import (
    Failure,
    Fault,
    RankError,
    first_failure,
    is_victim,
    read_failure,
    record_failure,
)
from retune.supervision.heartbeat import Heartbeat, furthest_behind, read_beats
from retune.supervision.out_of_memory import OutOfMemoryError, is_out_of_memory
from retune.supervision.stopping import StopRequest
from retune.supervision.watched_progress import Silent

# A rank that listens, says that it lives, and then does what it is told.
RANK = """
import os, signal, sys, time
from pathlib import Path
from retune.supervision.heartbeat import Heartbeat
from retune.supervision.stopping import StopRequest
rank, state = int(os.environ["RANK"]), Path(sys.argv[1])
with StopRequest() as stop:
    heartbeat = Heartbeat(state, rank)
    heartbeat.beat(3, "training")
    while not stop.requested:
        %s
        time.sleep(0.05)
        heartbeat.beat(3, "training")
sys.exit(75)
"""


def follow(state, what, timeout=60, world_size=2, at_start=None):
    """Follow ranks that do `what` until they are asked to stop; return their codes."""
    command = [sys.executable, "-c", RANK % what, str(state)]
    with (
        StopRequest() as stop,
        this_machine.started(command, "cpu", world_size) as ranks,
    ):
        if at_start:
            at_start(ranks)
        this_machine.follow(ranks, state, Silent(), stop, timeout)
    return [process.returncode for process in ranks.values()]


@pytest.fixture(autouse=True)
def _quick_ranks_that_find_the_library(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    monkeypatch.setattr(this_machine, "GRACE_S", 1.0)


def test_ranks_that_end_well_are_waited_for(tmp_path):
    assert follow(tmp_path, "sys.exit(0)") == [0, 0]


def test_a_signal_is_passed_on_once_and_only_to_ranks_that_listen(tmp_path):
    # It comes when no rank has begun to listen: it would end them.
    codes = follow(
        tmp_path,
        "pass",
        at_start=lambda ranks: os.kill(os.getpid(), signal.SIGUSR1),
    )
    assert codes == [os.EX_TEMPFAIL] * 2


def test_a_second_signal_ends_all_at_once(tmp_path):
    def twice(ranks):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Stopped, match="second signal, SIGTERM") as raised:
        follow(tmp_path, "pass", at_start=twice)
    assert raised.value.exit_code == 128 + signal.SIGTERM


def test_a_killed_rank_is_named_with_its_step(tmp_path):
    what = "rank == 1 and os.kill(os.getpid(), signal.SIGKILL)"
    start = time.monotonic()
    with pytest.raises(RetuneError, match="rank 1 was killed by SIGKILL in step 3"):
        follow(tmp_path, what)
    assert time.monotonic() - start < this_machine.GRACE_S + 5


def test_a_rank_that_ends_without_a_word_is_named(tmp_path):
    with pytest.raises(RetuneError, match="rank 0 ended with exit code 3"):
        follow(tmp_path, "rank == 0 and sys.exit(3)")


def test_a_rank_without_a_sign_of_life_is_named_and_says_where_it_is(tmp_path, caplog):
    what = (
        "import faulthandler; file = open(state / f'stack-rank{rank}', 'w');"
        " faulthandler.register(signal.SIGUSR2, file)"
        "\n        rank == 1 and time.sleep(1000)"
    )
    with pytest.raises(RetuneError, match=r"rank 1 made no progress .* in step 3"):
        follow(tmp_path, what, timeout=3)
    assert "Current thread" in caplog.text


def test_ranks_of_a_larger_world(tmp_path):
    what = (
        'print(*(os.environ[k] for k in ("RANK", "LOCAL_RANK", "WORLD_SIZE",'
        ' "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")), file=open(state /'
        ' f"rank{rank}", "w")); sys.exit(0)'
    )
    command = [sys.executable, "-c", RANK % what, str(tmp_path)]
    with this_machine.started(command, "cuda", 8, 4, 2, ("node-a", 29500)) as ranks:
        for process in ranks.values():
            process.wait(timeout=30)
    assert (tmp_path / "rank4").read_text() == "4 0 8 2 node-a 29500\n"
    assert (tmp_path / "rank5").read_text() == "5 1 8 2 node-a 29500\n"


def test_beats_of_ranks_on_other_machines_count_for_nothing(tmp_path):
    # Their clocks are others, so they may look late here.
    Heartbeat(tmp_path, 0).beat(3, "training")
    Heartbeat(tmp_path, 4).beat(3, "training")
    beats = this_machine.last_beats({4: None, 5: None}, tmp_path, 7.0)
    assert sorted(beats) == [4, 5]
    assert (beats[4].step, beats[5].step, beats[5].time) == (3, 0, 7.0)


def test_a_failed_rank_is_told_with_what_is_known_of_it(tmp_path):
    with pytest.raises(RankError) as raised:
        follow(tmp_path, "rank == 1 and os.kill(os.getpid(), signal.SIGKILL)")
    failure = raised.value.failure
    assert (failure.rank, failure.step, failure.fault) == (1, 3, Fault.OWN)
    assert str(raised.value) == failure.message


def test_the_visible_devices_are_left_as_they_are():
    assert "CUDA_VISIBLE_DEVICES" not in this_machine.rank_environment(
        "cuda", 2, "node-a"
    )


@pytest.mark.parametrize(("given", "each"), [("8", "4"), ("1", "1")])
def test_the_threads_are_those_of_all_ranks_together(monkeypatch, given, each):
    monkeypatch.setenv("OMP_NUM_THREADS", given)
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    environment = this_machine.rank_environment("cpu", 2, "node-a")
    assert environment["OMP_NUM_THREADS"] == each
    share = max(1, len(os.sched_getaffinity(0)) // 2)
    assert environment["MKL_NUM_THREADS"] == str(share)


def test_beats_tell_who_is_behind(tmp_path):
    first, second = Heartbeat(tmp_path, 0), Heartbeat(tmp_path, 1)
    for _ in range(3):
        first.beat(7, "training")
    for _ in range(2):
        second.beat(7, "training")
    first.beat(7, "saving with a long name")
    first.beat(7, "saving")
    beats = read_beats(tmp_path)
    assert [(b.rank, b.step, b.beats, b.phase) for b in beats] == [
        (0, 7, 5, "saving"),
        (1, 7, 2, "training"),
    ]
    assert [beat.rank for beat in furthest_behind(beats)] == [1]
    second.beat(8, "training")
    beats = read_beats(tmp_path)
    assert [beat.rank for beat in furthest_behind(beats)] == [0]
    assert beats[1].beats == 1  # counted within a step


def test_leftovers_are_removed_and_nothing_else(tmp_path):
    Heartbeat(tmp_path, 0)
    record_failure(tmp_path, 1, 2, ValueError("no"))
    for name in (".step-00000004", "step-00000002"):
        (tmp_path / name).mkdir()
    (tmp_path / "history.jsonl").touch()
    # Of nodes, too: an earlier failure must not end the next try.
    for name in ("failure-node1.json",):
        (tmp_path / name).touch()
    this_machine.remove_leftovers(tmp_path)
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == ["history.jsonl", "step-00000002"]


GLOO = RuntimeError(
    "[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:553] Connection closed by"
    " peer [127.0.0.1]:22249"
)


def test_a_victim_is_never_named_before_the_cause(tmp_path):
    record_failure(tmp_path, 0, 5, GLOO)
    record_failure(tmp_path, 1, 5, ValueError("the cause"))
    failures = [read_failure(tmp_path, rank, 1, 5) for rank in (0, 1)]
    assert failures[0].time < failures[1].time
    assert first_failure(failures).rank == 1
    told = first_failure(failures).message
    assert told == "rank 1 failed first: ValueError: the cause (in step 5)"


def test_a_rank_killed_by_the_kernel_comes_before_its_victims(tmp_path):
    record_failure(tmp_path, 0, 5, GLOO)
    failures = [read_failure(tmp_path, 0, 1, 5), read_failure(tmp_path, 1, -9, 5)]
    first = first_failure(failures)
    assert first.rank == 1
    assert "memory runs out" in first.message


def test_among_causes_the_earliest_counts():
    def failure(rank, time, fault=Fault.OWN):
        return Failure(rank, time, 1, "", False, fault)

    failures = [failure(0, 3.0), failure(1, 2.0), failure(2, 1.0, Fault.ABORTED)]
    assert first_failure(failures).rank == 1


def test_what_only_follows_from_another_rank_is_told_apart():
    assert is_victim(GLOO)
    assert not is_victim(RuntimeError("shape mismatch"))
    assert not is_victim(RetuneError("the gloo of the user"))
    wrapped = ValueError("saving failed")
    wrapped.__cause__ = GLOO
    assert is_victim(wrapped)


@pytest.mark.parametrize(
    ("error", "size"),
    [
        (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0"), 2**31),
        (
            RuntimeError(
                "DefaultCPUAllocator: can't allocate memory: you tried to allocate"
                " 8388608 bytes. Error code 12 (Cannot allocate memory)"
            ),
            2**23,
        ),
        (MemoryError(), 0),
        (OSError(12, "Cannot allocate memory"), 0),
    ],
)
def test_out_of_memory_is_recognised(error, size):
    assert is_out_of_memory(error)
    assert requested_bytes(error) == size


def test_other_errors_are_not_out_of_memory():
    assert not is_out_of_memory(RuntimeError("shape mismatch"))
    assert not is_out_of_memory(OSError(28, "No space left on device"))


def test_a_record_of_running_out_of_memory_keeps_the_numbers(tmp_path):
    shortage = MemoryShortage(needed=2.0, there=1.5, before=0.5)
    record_failure(tmp_path, 1, 3, OutOfMemoryError("ran out", shortage))
    record_failure(tmp_path, 0, 3, ValueError("another"))
    assert read_failure(tmp_path, 1, 1, 3).shortage == shortage
    assert read_failure(tmp_path, 0, 1, 3).shortage is None
