"""Two machines of a hostfile, reached by a real sshd: this one, under two addresses."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from cluster_run import CHECKPOINT, wait_until
from slurm_cluster import SSH_COMMANDS, find, free_ports, require

pytestmark = pytest.mark.slurm

ADDRESSES = "127.0.0.1", "127.0.0.2"
LONG = {"max_steps": 5000, "epochs": 10000, "save_steps": 5, "eval_steps": 1000}
STOPPED_S = 120


@pytest.fixture(scope="module")
def ssh_options(tmp_path_factory):
    """A server for the module; return the options of ssh that reach it."""
    require(*SSH_COMMANDS)
    folder = tmp_path_factory.mktemp("ssh")
    folder.chmod(0o700)
    Path("/run/sshd").mkdir(exist_ok=True)
    for name in ("host", "user"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name]
        subprocess.run(command, check=True)
    shutil.copy(folder / "user.pub", folder / "authorized_keys")
    [port] = free_ports(1)
    options = {
        **{"Port": port, "HostKey": folder / "host", "StrictModes": "no"},
        # Without PAM a root without a password is refused.
        **{"AuthorizedKeysFile": folder / "authorized_keys", "UsePAM": "yes"},
        **{"PidFile": folder / "pid", "PermitRootLogin": "yes"},
    }
    listen = [f"-oListenAddress={address}" for address in ADDRESSES]
    server = subprocess.Popen(
        [find("sshd"), "-D", "-e", "-f", os.devnull, *listen]
        + [f"-o{name}={value}" for name, value in options.items()],
        stderr=(folder / "log").open("w"),
    )
    try:
        known = "-oStrictHostKeyChecking=no -oUserKnownHostsFile=/dev/null"
        yield f"-p {port} -i {folder}/user -oLogLevel=ERROR {known}"
    finally:
        server.terminate()
        server.wait()


@pytest.fixture
def hosts(run, ssh_options):
    """The environment of a run on both addresses."""
    hostfile = run.folder / "hostfile"
    hostfile.write_text("".join(f"{address} slots=2\n" for address in ADDRESSES))
    return {"RETUNE_HOSTFILE": "hostfile", "PDSH_SSH_ARGS_APPEND": ssh_options}


def test_a_training_on_the_hosts_of_a_file_is_that_of_the_cluster(run, finished, hosts):
    shutil.rmtree(run.folder / "results/finetune")
    run("snakemake", "--cores", "2", "--", CHECKPOINT, **hosts)
    assert "deepspeed on 2 nodes: 127.0.0.1" in run.log()
    assert run.history() == finished.history()
    assert run.weights() == finished.weights()


def test_a_signal_stops_and_saves_on_all_hosts(run, hosts):
    run.change("finetune", **LONG)
    command = ("snakemake", "--cores", "2", "--", CHECKPOINT)
    process = run.start_command(*command, **hosts)
    wait_until(run.newest_step, process)
    [step] = [
        child
        for child in psutil.Process(process.pid).children(recursive=True)
        if child.cmdline()[1:4] == ["-m", "retune", "finetune"]
    ]
    step.send_signal(signal.SIGTERM)
    shown, _ = process.communicate(timeout=STOPPED_S)
    assert process.returncode == 1
    assert "on SIGTERM and saved; run the same command to go on" in shown
    deadline = time.monotonic() + 10
    while ranks_in(run.folder):
        assert time.monotonic() < deadline, "ranks are left"
        time.sleep(0.1)


def ranks_in(folder):
    """Return the ranks that train in a folder."""
    return [
        process
        for process in psutil.process_iter(["cmdline", "cwd"])
        if "retune.training.rank" in (process.info["cmdline"] or [])
        and process.info["cwd"] == str(folder)
    ]
