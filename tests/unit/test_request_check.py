"""A job that no node can ever start is told before it is queued."""

import pytest

from retune_slurm.partitions import parse_partitions
from retune_slurm.request_check import gpus_of, parse_request, request_problems

CLUSTER = parse_partitions(
    "cpu|up|infinite|4|64|250000|(null)|1-infinite\n"
    "gpu|up|1-00:00:00|2|64|500000|gpu:a100:8|1-infinite\n"
    "gpu|up|1-00:00:00|2|32|250000|gpu:a100:4|1-infinite\n"
    "small|up|1:00:00|8|16|64000|gpu:t4:1|1-2\n"
)
# What a dry run shows of a training on two nodes.
TRAINING = (
    "-p gpu -t 600 --mem 173000 --nodes=2 --requeue --ntasks=2 --cpus-per-task=64"
    " --signal=USR1@1000 --gres=gpu:8"
)


def test_what_fits_is_no_problem():
    assert request_problems(TRAINING, CLUSTER) == []
    assert request_problems("-p cpu -t 60 --mem 8000 --ntasks=1", CLUSTER) == []
    # SLURM chooses a default.
    assert request_problems("-t 60 --mem 8000", CLUSTER) == []


def test_what_is_not_known_yet_is_no_problem():
    request = "-p gpu --nodes=2 --ntasks=2 --cpus-per-task=64 --gres=gpu:a100:8"
    assert request_problems(request, CLUSTER) == []


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("-p gpu", "-p gpux", "slurm_partition: gpux: there is no such partition;"),
        ("-t 600", "-t 1441", "runtime: 1441 minutes, but partition gpu allows 1440"),
        ("gpu:8", "gpu:9", "gres: gpu:9 on 2 nodes, but partition gpu has 0 with that"),
        ("gpu:8", "gpu:h100:8", "gres: gpu:h100:8 on 2 nodes, but partition gpu has 0"),
        ("173000", "600000", "mem_mb: 600000 on 2 nodes, but partition gpu has 0 with"),
        ("task=64", "task=65", "cpus_per_task: 65 on 2 nodes, but partition gpu has 0"),
        ("nodes=2", "nodes=3", "gres: gpu:8 on 3 nodes, but partition gpu has 2 with"),
        ("nodes=2", "nodes=5", "gres: gpu:8 on 5 nodes, but partition gpu has 2 with"),
    ],
)
def test_what_does_not_fit_is_told(old, new, told):
    problems = request_problems(TRAINING.replace(old, new), CLUSTER)
    assert problems
    assert problems[0].startswith(told)


def test_what_no_node_has_together_is_told_together():
    cluster = parse_partitions(
        "gpu|up|infinite|2|64|500000|(null)|1-infinite\n"
        "gpu|up|infinite|2|32|250000|gpu:8|1-infinite\n"
    )
    request = "-p gpu --mem 300000 --nodes=1 --ntasks=1 --gres=gpu:8"
    (problem,) = request_problems(request, cluster)
    assert problem.startswith(
        "gres: gpu:8 with mem_mb: 300000 with cpus_per_task: 1 on"
    )


def test_time_and_nodes_are_told_at_once():
    request = "-p small -t 90 --nodes=3 --ntasks=3 --gres=gpu:1"
    assert request_problems(request, CLUSTER) == [
        "runtime: 90 minutes, but partition small allows 60",
        "hardware.nodes: 3, but partition small allows 2 for a job",
    ]


def test_one_of_several_partitions_is_enough():
    assert request_problems(TRAINING.replace("-p gpu", "-p small,gpu"), CLUSTER) == []
    problems = request_problems(TRAINING.replace("-p gpu", "-p small,cpu"), CLUSTER)
    assert len(problems) > 1


def test_a_task_on_each_node_counts_the_cpus_of_that_task():
    asked = parse_request(TRAINING)
    assert (asked.ntasks, asked.nodes, asked.cpus_per_task) == (2, 2, 64)


@pytest.mark.parametrize(
    ("gres", "found"),
    [
        ("gpu:8", ("", 8)),
        ("gpu:a100:8", ("a100", 8)),
        ("gpu", ("", 1)),
        ("gpu:a100", ("a100", 1)),
        ("", ("", 0)),
        ("lscratch:10", ("", 0)),
    ],
)
def test_gpus_that_are_asked_for(gres, found):
    assert gpus_of(gres) == found
