"""A log shows a warning once, and every error."""

import io
import json
import subprocess
import sys
from contextlib import suppress

import pytest

from retune.terminal.log_lines import LogLines, log_lines, pass_on_output

DEPRECATED = "/lib/c10d_logger.py:83: FutureWarning: `all_gather` is deprecated."
SOURCE = "  return func(*args, **kwargs)"


@pytest.fixture
def stream():
    return io.StringIO()


@pytest.fixture
def lines(stream):
    return LogLines(stream)


def test_a_warning_is_shown_once_whoever_repeats_it(lines, stream):
    for rank in (0, 1, 0, 1):
        lines.add(DEPRECATED, f"rank {rank}")
        lines.add(SOURCE, f"rank {rank}")
    assert stream.getvalue() == f"rank 0 | {DEPRECATED}\nrank 0 | {SOURCE}\n"
    lines.finish()
    *_, last = stream.getvalue().splitlines()
    assert last == f"printed 3 more times: {DEPRECATED}"


def test_another_warning_is_shown_with_its_own_source_line(lines, stream):
    other = DEPRECATED.replace("gather", "reduce")
    for text in (DEPRECATED, other, DEPRECATED):
        lines.add(text, "rank 0")
        lines.add(SOURCE, "rank 0")
    shown = stream.getvalue().splitlines()
    assert shown == [f"rank 0 | {line}" for line in (DEPRECATED, SOURCE, other, SOURCE)]


@pytest.mark.parametrize(
    ("first", "again"),
    [
        ("17:22:35 rank 0 WARNING slow disk", "17:23:36 rank 1 WARNING slow disk"),
        (
            "[2026-11-26 17:23:53,386] [WARNING] [engine.py:26:f] No overlap.",
            "[2026-11-26 17:23:53,485] [WARNING] [engine.py:26:f] No overlap.",
        ),
        (
            "[rank0]:[W1126 17:22:12.123456 ProcessGroup.cpp:90] Warning: a fatal one",
            "[rank1]:[W1126 17:22:13.654321 ProcessGroup.cpp:90] Warning: a fatal one",
        ),
        (
            "W1126 17:22:12.123456 4711 torch/utils.py:9] no CUDA",
            "W1126 17:22:12.223456 4712 torch/utils.py:9] no CUDA",
        ),
        ("/lib/a.py:3: UserWarning: an error", "/lib/a.py:3: UserWarning: an error"),
        ("SEED_LAYERS=False", "SEED_LAYERS=False"),
        ("Loading: 0%\rLoading: 100%\r", "Loading: 50%\rLoading: 100%"),
    ],
)
def test_a_repeated_line_is_the_same_at_another_time_and_of_another_rank(
    lines, stream, first, again
):
    lines.add(first, "rank 0")
    lines.add(again, "rank 1")
    assert len(stream.getvalue().splitlines()) == 1


@pytest.mark.parametrize(
    "text",
    [
        "17:22:35 rank 0 WARNING skipped step {}",
        "step {}",
        "/lib/a.py:{}: UserWarning: gone",
    ],
)
def test_lines_that_differ_are_all_shown(lines, stream, text):
    for number in (3, 4):
        lines.add(text.format(number), "rank 0")
    assert len(stream.getvalue().splitlines()) == 2


@pytest.mark.parametrize(
    "value", [{"a": {"x": 1}, "b": {"x": 1}}, [[1, 2], [1, 2]], {"a": [1], "b": [1]}]
)
def test_a_block_stays_whole_each_time_it_is_printed(lines, stream, value):
    block = json.dumps(value, indent=2)
    for line in 2 * block.splitlines():
        lines.add(line)
    lines.finish()
    assert stream.getvalue() == f"{block}\n{block}\n"


def test_a_block_under_a_repeated_warning_lacks_no_line(lines, stream):
    block = ["settings:", "  x: 1", "  x: 1"]
    for line in (DEPRECATED, SOURCE, DEPRECATED, SOURCE, *block):
        lines.add(line, "rank 0")
    shown = [line.removeprefix("rank 0 | ") for line in stream.getvalue().splitlines()]
    assert shown == [DEPRECATED, SOURCE, *block]


TRACEBACK = """\
Traceback (most recent call last):
  File "loop.py", line 7, in train
    step()
SomethingOfTheirOwn: the data is on fire
"""


@pytest.mark.parametrize(
    "error",
    [
        TRACEBACK,
        "17:22:35 ERROR rank 1, 21 s in step 3:\n  File x\n  File x\n",
        "Fatal Python error: Segmentation fault\n\nThread 0x1:\n  File x\n  File x\n",
        "[E1126 17:22:12.1 ProcessGroup.cpp:9] NCCL timed out\n",
        "terminate called after throwing an instance of 'std::exception'\n",
        "cudaMalloc failed\n",
    ],
)
def test_an_error_is_shown_by_everybody_who_has_it(lines, stream, error):
    for rank in ("rank 0", "rank 1", "rank 0"):
        for line in error.splitlines():
            lines.add(line, rank)
    assert len(stream.getvalue().splitlines()) == 3 * len(error.splitlines())


def test_the_ranks_are_told_apart_where_a_line_does_not_say(lines, stream):
    lines.add("ValueError: no", "rank 1")
    lines.add("17:22:35 rank 0 INFO 12 steps", "rank 0")
    assert stream.getvalue() == (
        "rank 1 | ValueError: no\n17:22:35 rank 0 INFO 12 steps\n"
    )


@pytest.mark.parametrize("host", ["", "node-a.cluster: "])
def test_what_nodes_have_named_stays_so_and_errors_pass(lines, stream, host):
    node = io.StringIO()
    of_node = LogLines(node)
    for rank in ("rank 0", "rank 1"):
        for line in (DEPRECATED, SOURCE, *TRACEBACK.splitlines()):
            of_node.add(line, rank)
    from_nodes = [host + line for line in node.getvalue().splitlines()]
    assert len(from_nodes) == 2 + 2 * len(TRACEBACK.splitlines())
    for line in 2 * from_nodes:
        lines.add(line)
    shown = stream.getvalue().splitlines()
    assert shown == from_nodes + from_nodes[2:]


def test_what_a_process_prints_is_passed_on_to_the_last_line(lines, stream):
    code = "import os, sys; print('a'); os.write(2, b'b\\nno end \\xff'); os.abort()"
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    pass_on_output(process, lines, "rank 3").join()
    process.wait()
    shown = stream.getvalue().splitlines()
    assert shown == ["rank 3 | a", "rank 3 | b", "rank 3 | no end \ufffd"]


def test_what_this_process_prints_goes_through_as_well(stream, monkeypatch):
    monkeypatch.setattr(sys, "stderr", stream)
    with log_lines() as lines:
        with log_lines() as same:
            assert same is lines
        print("twice", file=sys.stderr)
        print("twice\nno end", file=sys.stderr, end="")
    assert sys.stderr is stream
    assert stream.getvalue() == "twice\nno end\nprinted once more: twice\n"


def test_a_process_does_not_wait_for_a_log_that_cannot_be_written():
    code = "for number in range(100_000): print('line', number)"
    with open("/dev/full", "w") as full:
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        thread = pass_on_output(process, LogLines(full))
        assert process.wait(timeout=60) == 0
        thread.join(timeout=60)
        assert not thread.is_alive()
        with suppress(OSError):
            full.close()
