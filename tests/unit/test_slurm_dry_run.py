"""What a dry run shows of SLURM's jobs."""

from types import SimpleNamespace

import pytest
from snakemake.common.tbdstring import TBDString
from snakemake.iocontainers import ResourceList
from snakemake_executor_plugin_slurm import ExecutorSettings

from retune_slurm.command_line import read_settings
from retune_slurm.dry_run import request, request_line

SETTINGS = ExecutorSettings(status_command="squeue")


def job_of(threads=1, **resources):
    """Return a job as the executor reads it."""
    return SimpleNamespace(threads=threads, resources=ResourceList(fromdict=resources))


def test_a_request_says_who_pays_where_how_long_and_how_much():
    job = job_of(
        slurm_account="mine",
        slurm_partition="cpu",
        runtime=60,
        mem_mb=8000,
        cpus_per_task=4,
    )
    assert request(job, SETTINGS) == (
        "-A mine -p cpu -t 60 --mem 8000 --ntasks=1 --cpus-per-task=4"
    )


def test_without_an_account_none_is_named():
    assert "-A" not in request(
        job_of(slurm_account="", slurm_partition="cpu"), SETTINGS
    )


def test_a_request_for_several_nodes_with_gpus():
    job = job_of(
        **{"mpi": "srun", "nodes": 2, "tasks": 2, "tasks_per_gpu": 0},
        **{"gres": "gpu:a100:4", "cpus_per_task": 32, "slurm_partition": "gpu"},
        slurm_extra="--signal=USR1@300 --mail-user='a b'",
    )
    assert request(job, SETTINGS) == (
        "-p gpu --nodes=2 --ntasks=2 --cpus-per-task=32 --signal=USR1@300"
        " '--mail-user=a b' --gres=gpu:a100:4"
    )


def test_what_the_profile_says_to_the_executor_is_in_the_request():
    settings = ExecutorSettings(requeue=True, qos="long", reservation="mine")
    assert request(job_of(slurm_partition="cpu", runtime=60), settings) == (
        "-p cpu -t 60 --requeue --qos=long --reservation=mine --ntasks=1"
        " --cpus-per-task=1"
    )


def profile(tmp_path, text):
    """Return options for a profile."""
    (tmp_path / "config.yaml").write_text(text)
    return ["--workflow-profile", str(tmp_path)]


def test_the_executor_s_settings_are_those_of_profile_and_command_line(
    tmp_path, capsys
):
    given = profile(tmp_path, "executor: slurm\njobs: 2\nslurm-requeue: true\n")
    settings = read_settings([*given, "--dry-run", "--slurm-qos", "long", "train"])
    assert (settings.requeue, settings.qos) == (True, "long")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "arguments", [["--cores", "1", "train"], ["--no-such-option"], ["-n", "-p"]]
)
def test_another_command_line_says_nothing_to_the_executor(arguments):
    assert read_settings(arguments) is None


def test_a_partition_alone_makes_no_run_of_slurm(tmp_path):
    given = profile(tmp_path, "cores: 1\ndefault-resources:\n  slurm_partition: cpu\n")
    assert read_settings(given) is None


def test_what_the_executor_would_refuse_is_shown_as_refused():
    shown = request_line(
        job_of(slurm_partition="gpu", slurm_extra="--gres=gpu:8"), SETTINGS
    )
    assert shown.startswith("would be refused: ")
    assert "'slurm_extra'" in shown
    assert request_line(job_of(slurm_partition="gpu"), SETTINGS).startswith(
        "sbatch: -p gpu"
    )


@pytest.mark.parametrize(
    ("unknown", "told"),
    [
        (("runtime", "mem_mb", "slurm_extra"), "time, memory, signal"),
        (("runtime",), "time"),
        (("mem_mb",), "memory"),
    ],
)
def test_what_is_not_known_yet_is_said_and_not_asked_for(unknown, told):
    known = {"runtime": 60, "mem_mb": 8000, "slurm_extra": "--signal=USR1@300"}
    shown = request(job_of(**known | dict.fromkeys(unknown, TBDString())), SETTINGS)
    asked, _, after = shown.partition(" (")
    assert after == f"to come, from files not made yet: {told})"
    assert "TBD" not in shown
    assert ("-t 60" in asked) == ("runtime" not in unknown)
    assert ("--mem 8000" in asked) == ("mem_mb" not in unknown)
    assert ("--signal" in asked) == ("slurm_extra" not in unknown)


def test_what_is_known_needs_no_remark():
    assert "(" not in request(job_of(runtime=60, mem_mb=8000), SETTINGS)
