"""What a dry run for a SLURM cluster shows, and what is refused before anything runs.

No SLURM is needed for it; the runs on one are in tests/slurm.
"""

import re
import shlex
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from plans import reasons_of
from retune.artifacts.publishing import write_json
from retune.launching.hostfile import HOSTFILE
from retune.launching.slurm import JOB
from retune.planning.hardware import Hardware
from retune.planning.strategy import make_plan
from retune.settings import ConfigureSettings
from retune.step_code import STEPS
from tiny_facts import tiny_facts
from token_files import write_index

PROFILE = "profiles/slurm"
SLURM = ("--workflow-profile", PROFILE)
NOT_KNOWN_YET = "(to come, from files not made yet: time, memory)"
NOT_KNOWN_OF_FINETUNE = "(to come, from files not made yet: time, memory, signal)"
HERE = {"download", "fetch"}
GPUS = {"accelerator": "cuda", "nodes": 2, "ranks_per_node": 4}


class Cluster:
    """A workspace, for a cluster that there is not."""

    def __init__(self, workspace) -> None:
        """Take a workspace."""
        self.folder = workspace.folder
        self.snakemake = workspace.snakemake

    def set_hardware(self, **hardware: Any) -> None:
        """Change the machines in params.yaml."""

        def change(params):
            params["hardware"] |= hardware
            params["configure"]["global_batch_size"] = 64

        self._change("params.yaml", change)

    def change_params(self, section: str, **settings: Any) -> None:
        """Change a section of params.yaml."""
        self._change("params.yaml", lambda params: params[section].update(settings))

    def adapt(self, change: Callable[[dict[str, Any]], object]) -> None:
        """Change the profile, as a user does for a cluster."""
        self._change(f"{PROFILE}/config.yaml", change)

    def requests(self, *arguments: str) -> dict[str, str]:
        """Return what sbatch would be asked for each step of a dry run."""
        result = self.snakemake(*SLURM, "--dry-run", *arguments)
        shown = result.stdout + result.stderr
        assert result.returncode == 0, shown
        requests, step = {}, None
        for line in shown.splitlines():
            if header := re.match(r"([a-z]+) {2,}\S", line):
                step = header[1]
            elif request := re.match(r"    sbatch: (.*)", line):
                requests[step] = request[1]
                step = None  # the next one belongs to another job
        assert shown.count("sbatch:") == len(requests)
        return requests

    def _change(self, path: str, change: Callable[[dict[str, Any]], object]) -> None:
        file = self.folder / path
        values = yaml.safe_load(file.read_text())
        change(values)
        file.write_text(yaml.safe_dump(values, sort_keys=False))


@pytest.fixture
def cluster(workspace, monkeypatch) -> Cluster:
    for name in (JOB, HOSTFILE):
        monkeypatch.delenv(name, raising=False)
    return Cluster(workspace)


def test_two_nodes_with_four_gpus_each(cluster):
    cluster.set_hardware(**GPUS)
    cluster.adapt(
        lambda profile: profile["default-resources"].update(
            gpu_type="a100", slurm_account="mine"
        )
    )
    requests = cluster.requests("train")
    assert requests["finetune"] == (
        "-A mine -p gpu --nodes=2 --requeue --ntasks=2 --cpus-per-task=32"
        f" --gres=gpu:a100:4 {NOT_KNOWN_OF_FINETUNE}"
    )
    all_of_a_node = (
        f"-A mine -p gpu --requeue --cpus-per-task=8 --gres=gpu:a100:4 {NOT_KNOWN_YET}"
    )
    assert requests["baseline"] == requests["evaluate"] == all_of_a_node
    assert requests["prepare"] == (
        f"-A mine -p cpu --requeue --ntasks=1 --cpus-per-task=4 {NOT_KNOWN_YET}"
    )
    # It says nothing itself: what the profile gives.
    assert requests["configure"] == (
        "-A mine -p cpu -t 60 --mem 8000 --requeue --ntasks=1 --cpus-per-task=1"
    )
    assert set(requests) == set(STEPS) - HERE


def test_one_node_is_no_job_of_several_tasks(cluster):
    cluster.set_hardware(**GPUS | {"nodes": 1})
    request = cluster.requests("train")["finetune"]
    assert request.startswith(
        "-p gpu --nodes=1 --requeue --cpus-per-task=32 --gres=gpu:4 "
    )


def test_ranks_on_cpus_ask_for_no_gpu(cluster):
    cluster.set_hardware(accelerator="cpu", nodes=2, ranks_per_node=4)
    requests = cluster.requests("train")
    assert requests["finetune"].startswith(
        "-p gpu --nodes=2 --requeue --ntasks=2 --cpus-per-task=16 "
    )
    assert "gres" not in "".join(requests.values())


def test_steps_that_need_a_network_go_to_the_partition_that_has_one(cluster):
    cluster.adapt(
        lambda profile: profile["set-resources"].update(
            download={"slurm_partition": "transfer"}
        )
    )
    requests = cluster.requests("train")
    assert requests["download"].startswith("-p transfer -t 60 --mem 8000 ")
    assert set(requests) == set(STEPS) - {"fetch"}


def test_a_profile_without_a_partition_is_one_for_slurm_too(cluster):
    cluster.set_hardware(**GPUS)
    cluster.adapt(lambda profile: profile["default-resources"].pop("slurm_partition"))
    requests = cluster.requests("train")
    assert requests["configure"].startswith("-t 60 --mem 8000 --requeue ")
    assert set(requests) == set(STEPS) - HERE
    cluster.set_hardware(nodes=1, accelerator="auto")
    assert "hardware.accelerator: auto asks" in refused(cluster, *SLURM)


def test_a_run_here_asks_for_nothing(cluster):
    cluster.set_hardware(**GPUS)
    result = cluster.snakemake("--dry-run", "train")
    assert result.returncode == 0, result.stderr
    assert "sbatch:" not in result.stdout + result.stderr


def leave_a_plan(cluster: Cluster) -> None:
    """Have everything that finetune reads, for a plan of a large model."""
    hardware = Hardware("cuda", 2, 4, 80, None)
    settings = ConfigureSettings(
        global_batch_size=64, micro_batch_size=1, zero_stage=3, precision="bf16"
    )
    facts, length = tiny_facts(num_parameters=7 * 10**9), 2048
    plan, _ = make_plan(settings, hardware, facts, length, 1000)
    plan.write(cluster.folder / "plan/plan.json")
    reasons_of(plan).write(cluster.folder / "plan/reasons.json")
    write_json(cluster.folder / "plan/deepspeed.json", {})
    tokens = cluster.folder / "data/tokens"
    write_index(tokens, 6400 * length, sequence_length=length)
    (cluster.folder / "models/base").mkdir(parents=True)


# What a dry run of finetune alone takes for made.
ALONE = ("--allowed-rules", "finetune", "--", "finetune")


def test_time_memory_and_notice_follow_from_the_plan(cluster):
    cluster.set_hardware(**GPUS)
    leave_a_plan(cluster)
    words = shlex.split(cluster.requests(*ALONE)["finetune"])
    given = dict(zip(words, words[1:], strict=False))
    assert 60 < int(given["-t"]) < 600
    # 84 GB of checkpoint: each node holds its half, beside four ranks.
    assert 58_000 < int(given["--mem"]) < 80_000
    [notice] = [word for word in words if word.startswith("--signal=USR1@")]
    assert 84 + 120 < int(notice.removeprefix("--signal=USR1@")) < 600


def test_files_that_will_be_made_anew_say_nothing_of_a_request(cluster):
    cluster.set_hardware(**GPUS)
    leave_a_plan(cluster)
    requests = cluster.requests("train")
    assert requests["finetune"].endswith(NOT_KNOWN_OF_FINETUNE)
    for step in ("prepare", "tokenize", "baseline", "consolidate", "evaluate"):
        assert requests[step].endswith(NOT_KNOWN_YET), step


def test_only_what_comes_after_a_change_is_not_known_yet(cluster, workspace):
    cluster.set_hardware(**GPUS | {"nodes": 1})
    leave_a_plan(cluster)
    (cluster.folder / "data/clean").mkdir()
    for split in ("validation", "test"):
        (cluster.folder / f"data/clean/{split}.parquet").write_text("made up")
    workspace.looks_finished()
    assert cluster.requests("train") == {}
    cluster.change_params("finetune", learning_rate=0.0003)
    requests = cluster.requests("train")
    # Its own inputs stay as they are; the model that evaluate reads is to come.
    assert "-t " in requests["finetune"]
    assert "--signal=USR1@" in requests["finetune"]
    assert "to come" not in requests["finetune"]
    assert requests["evaluate"].endswith(NOT_KNOWN_YET)


def test_fewer_gpus_of_the_profile_take_more_time(cluster):
    cluster.set_hardware(
        accelerator="cuda", nodes=1, ranks_per_node=8, gpu_memory_gb=80
    )
    base, clean = cluster.folder / "models/base", cluster.folder / "data/clean"
    for folder in (base, clean):
        folder.mkdir(parents=True)
    tiny_facts(num_parameters=8 * 10**9).write(base)
    for split in ("validation", "test"):
        with (clean / f"{split}.parquet").open("wb") as file:
            file.truncate(10**7)
    alone = ("--allowed-rules", "baseline", "--", "baseline")

    def request() -> tuple[int, str, str]:
        words = shlex.split(cluster.requests(*alone)["baseline"])
        given = dict(zip(words, words[1:], strict=False))
        options = dict(word.split("=") for word in words if "=" in word)
        return int(given["-t"]), options["--gres"], options["--cpus-per-task"]

    minutes, *eight = request()
    assert eight == ["gpu:8", "16"]
    for gres in ("gpu:1", "gpu:a100:1"):
        cluster.adapt(
            lambda profile, gres=gres: profile["set-resources"].update(
                baseline={"gres": gres}
            )
        )
        longer, *one = request()
        assert one == [gres, "4"]
        # The start takes 20 minutes.
        assert longer - 20 > 7 * (minutes - 20 - 10)


def test_what_a_cluster_wants_of_every_job_goes_beside_the_signal(cluster):
    cluster.set_hardware(**GPUS)
    cluster.adapt(
        lambda profile: profile["default-resources"].update(
            slurm_extra="--exclude=node7"
        )
    )
    leave_a_plan(cluster)
    assert re.search(
        r" --signal=USR1@\d+ --exclude=node7 ", cluster.requests(*ALONE)["finetune"]
    )


def test_a_profile_that_takes_the_signal_away_is_refused(cluster):
    def change(profile):
        profile["set-resources"]["finetune"]["slurm_extra"] = "--exclude=node7"

    cluster.adapt(change)
    result = cluster.snakemake(*SLURM, "--dry-run", "train")
    assert result.returncode == 1
    assert "set-resources: finetune: slurm_extra" in result.stderr
    assert "--signal=USR1@300" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_profile_may_ask_for_its_own_notice(cluster):
    cluster.set_hardware(**GPUS)
    own = "--exclude=node7 --signal=USR1@900"

    def change(profile):
        profile["set-resources"]["finetune"]["slurm_extra"] = own

    cluster.adapt(change)
    leave_a_plan(cluster)
    request = cluster.requests(*ALONE)["finetune"]
    assert f" {own} " in request
    assert request.count("--signal") == 1


@pytest.mark.parametrize(
    ("own", "too_few"),
    [
        ({"runtime": 23}, True),
        ({"runtime": "23m"}, True),
        ({"runtime": "1d"}, False),
        ({"runtime": 30, "slurm_extra": "--signal=USR1@900"}, True),
        ({"runtime": 35, "slurm_extra": "--signal=USR1@900"}, False),
        ({"slurm_extra": "--signal=USR1@9000"}, False),
    ],
)
def test_a_time_in_which_no_step_is_done_is_told(cluster, own, too_few):
    cluster.set_hardware(**GPUS)
    cluster.adapt(lambda profile: profile["set-resources"]["finetune"].update(own))
    leave_a_plan(cluster)
    result = cluster.snakemake(*SLURM, "--dry-run", *ALONE)
    shown = result.stdout + result.stderr
    assert result.returncode == 0, shown
    assert shown.count("may be too few for a single step") == too_few
    if too_few and "slurm_extra" in own:
        assert "runtime: 30 minutes may be too few" in shown
        assert "stopped 900 s before; 35 would do" in shown


@pytest.mark.parametrize(("wanted", "threads"), [(None, 32), (128, 128)])
def test_threads_are_the_cpus_that_the_profile_asks_for(cluster, wanted, threads):
    cluster.set_hardware(**GPUS)
    if wanted:
        own = {"cpus_per_task": wanted}
        cluster.adapt(lambda profile: profile["set-resources"]["finetune"].update(own))
    with (cluster.folder / "workflow/Snakefile").open("a") as file:
        file.write(
            "finetune = workflow.get_rule('finetune')\n"
            "print('threads:', finetune.resources['_cores'].value)\n"
        )
    result = cluster.snakemake(*SLURM, "--dry-run", "train")
    assert f"threads: {threads}\n" in result.stdout, result.stderr


def refused(cluster: Cluster, *arguments: str) -> str:
    """Run; return what is said once it has refused before anything started."""
    result = cluster.snakemake(*arguments, "train")
    assert result.returncode == 1, result.stderr
    assert "Traceback" not in result.stderr
    for made in ("data", "models", "logs"):
        assert not (cluster.folder / made).exists(), made
    return result.stderr


def test_several_nodes_need_a_cluster_or_a_hostfile(cluster):
    cluster.set_hardware(nodes=2, ranks_per_node=2)
    shown = refused(cluster, "--cores", "1")
    assert "hardware.nodes: 2: on a SLURM cluster run snakemake" in shown
    assert f"--workflow-profile {PROFILE} train" in shown
    assert HOSTFILE in shown


@pytest.mark.parametrize("setting", ["accelerator", "ranks_per_node"])
def test_a_cluster_must_be_told_what_it_has(cluster, setting):
    cluster.set_hardware(**{"nodes": 1, setting: "auto"})
    for arguments in (SLURM, (*SLURM, "--dry-run")):
        shown = refused(cluster, *arguments)
        assert f"hardware.{setting}: auto asks the machine" in shown


def test_on_one_machine_it_may_be_found_out(cluster):
    cluster.set_hardware(accelerator="auto", ranks_per_node="auto")
    result = cluster.snakemake("--dry-run", "train")
    assert result.returncode == 0, result.stderr
