"""What sinfo shows of a cluster, as SLURM 22.05 to 25.05 write it."""

import pytest

from retune_slurm.partitions import Nodes, gpus_in, minutes_of, parse_partitions

# What a real SLURM 22.05 of two nodes shows, and lines as its manual describes others.
SHOWN = """\
cpu|up|infinite|2|8|64000|gpu:a100:2|1-infinite
gpu|up|2:00:00|2|8|64000|gpu:a100:2|1-infinite
CLUSTER: other
long|down|7-00:00:00|3|128+|1031000+|gpu:h100:8(S:0-1)|1-2
long|down|7-00:00:00|1|64|512000|(null)|1-2
debug|up|30:00|1|4|16000|(null)|1
"""


def test_partitions_have_limits_and_nodes_of_several_kinds():
    found = parse_partitions(SHOWN)
    assert list(found) == ["cpu", "gpu", "long", "debug"]
    assert found["cpu"].minutes is None
    assert found["cpu"].most_nodes is None
    assert found["gpu"].minutes == 120
    assert found["gpu"].nodes == (Nodes(2, 8, 64000, {"a100": 2}),)
    long = found["long"]
    assert (long.is_up, long.minutes, long.most_nodes) == (False, 7 * 24 * 60, 2)
    assert long.nodes == (
        Nodes(3, 128, 1031000, {"h100": 8}),
        Nodes(1, 64, 512000, {}),
    )
    assert (found["debug"].minutes, found["debug"].most_nodes) == (30, 1)


def test_a_cluster_without_partitions_has_none():
    assert parse_partitions("") == {}


@pytest.mark.parametrize(
    ("limit", "minutes"),
    [
        ("infinite", None),
        ("n/a", None),
        ("30:00", 30),
        ("1:00:00", 60),
        ("1-12:30:00", 36 * 60 + 30),
        ("0:30", 0.5),
    ],
)
def test_time_limits(limit, minutes):
    assert minutes_of(limit) == minutes


@pytest.mark.parametrize(
    ("gres", "gpus"),
    [
        ("(null)", {}),
        ("", {}),
        ("gpu:2", {"": 2}),
        ("gpu:a100:4(S:0-1)", {"a100": 4}),
        ("gpu:a100:4(S:0,2),lscratch:100", {"a100": 4}),
        ("gpu:a100:2,gpu:1g.5gb:7(S:1)", {"a100": 2, "1g.5gb": 7}),
        ("craynetwork:4", {}),
    ],
)
def test_gpus_of_generic_resources(gres, gpus):
    assert gpus_in(gres) == gpus


def test_gpus_of_a_type_and_of_any():
    nodes = Nodes(1, 8, 1000, {"a100": 2, "h100": 4})
    assert [nodes.gpus_of(kind) for kind in ("", "a100", "v100")] == [6, 2, 0]
