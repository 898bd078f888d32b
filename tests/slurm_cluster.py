"""A real SLURM of two nodes on this machine: slurmctld, two slurmd, munge.

Nothing outside its folder is touched: configuration and sockets are there, and the
commands find them through wrappers in `bin`. (Snakemake's executor drops SLURM_CONF.)
"""

import os
import shutil
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

# Set where a skipped test would hide that something is missing.
MUST_RUN = "RETUNE_TESTS_MUST_RUN"
COMMANDS = "srun", "sbatch", "scancel", "scontrol", "squeue", "sinfo"
DAEMONS = "slurmctld", "slurmd", "munged"
SSH_COMMANDS = "sshd", "ssh", "ssh-keygen", "pdsh"
PACKAGES = (
    "slurmctld slurmd slurm-client munge slurm-wlm-basic-plugins openssh-server pdsh"
)
MUNGE_FILES = "key", "seed", "pid", "log"
NODES = "node1", "node2"
UP_S = 30.0

CONF = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CryptoType=crypto/munge
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1,sched_min_interval=0,batch_sched_delay=0
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdTimeout=60
InactiveLimit=0
KillWait=20
MinJobAge=300
JobRequeue=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
GresTypes=gpu
SlurmdParameters=config_overrides
NodeName=DEFAULT CPUs=8 RealMemory=64000
NodeName=node1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} Gres=gpu:a100:2
NodeName=node2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[3]} Gres=gpu:a100:2
PartitionName=DEFAULT Nodes=node1,node2 MaxTime=UNLIMITED PreemptMode=off
PartitionName=cpu Default=YES PriorityTier=5
PartitionName=gpu PriorityTier=5 MaxTime=120
PartitionName=low PriorityTier=1 PreemptMode=CANCEL
PartitionName=high PriorityTier=10
"""
# Two fake GPUs a node: SLURM wants a character device for each.
GRES = """\
NodeName=node[1-2] Name=gpu Type=a100 File=/dev/null
NodeName=node[1-2] Name=gpu Type=a100 File=/dev/zero
"""
WRAPPER = """\
#!/bin/sh
SLURM_CONF={folder}/slurm.conf exec {command} "$@"
"""


def require(*commands: str) -> None:
    """Skip a test if it lacks a command or root's rights; fail where none may skip."""
    if reason := why_not(*commands):
        assert not os.environ.get(MUST_RUN), reason
        pytest.skip(reason)


def why_not(*commands: str) -> str | None:
    """Return why nothing that needs these can be started here; None if it can."""
    missing = [name for name in commands if not find(name)]
    if missing:
        return f"no {', '.join(missing)}; as root: apt-get install {PACKAGES}"
    if os.getuid() != 0:
        return "slurmd starts jobs as root only"
    return None


def find(name: str) -> str | None:
    """Return the path of a command; daemons may be out of a user's PATH."""
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")


class Cluster:
    """The cluster while it runs."""

    def __init__(self, folder: Path) -> None:
        """Prepare one in an empty folder; the path of its socket must be short."""
        self.folder = folder
        self.bin = folder / "bin"
        self.bin.mkdir(parents=True)
        (folder / "state").mkdir()
        folder.chmod(0o755)
        conf = CONF.format(
            folder=folder, host=socket.gethostname(), ports=free_ports(4)
        )
        (folder / "slurm.conf").write_text(conf)
        (folder / "gres.conf").write_text(GRES)
        (folder / "munge.key").write_bytes(os.urandom(1024))
        (folder / "munge.key").chmod(0o400)
        for name in COMMANDS:
            wrapper = self.bin / name
            wrapper.write_text(WRAPPER.format(folder=folder, command=find(name)))
            wrapper.chmod(0o755)

    def start(self) -> None:
        """Start the daemons; return when both nodes are idle."""
        environment = {**os.environ, "SLURM_CONF": str(self.folder / "slurm.conf")}
        files = (f"--{kind}-file={self.folder}/munge.{kind}" for kind in MUNGE_FILES)
        socket = f"--socket={self.folder}/munge.socket"
        munge = [find("munged"), "--force", socket, *files]
        daemons = [[find("slurmd"), "-N", node] for node in NODES]
        for command in (munge, [find("slurmctld")], *daemons):
            subprocess.run(command, env=environment, check=True)
        deadline = time.monotonic() + UP_S
        while self.call("sinfo", "-h", "-p", "cpu", "-t", "idle", "-o", "%D") != "2":
            assert time.monotonic() < deadline, self.call("sinfo", "-N", "-l")
            time.sleep(0.1)

    def stop(self) -> None:
        """End all jobs, then the daemons, by their pids, then what jobs left behind."""
        with suppress(subprocess.CalledProcessError):
            self.call("scancel", "--user=root", "--signal=KILL", "--full")
            self.call("scancel", "--user=root")
            deadline = time.monotonic() + UP_S
            while self.call("squeue", "-h") and time.monotonic() < deadline:
                time.sleep(0.2)
        names = *(f"slurmd-{node}" for node in NODES), "slurmctld", "munge"
        pids = [
            int((self.folder / f"{name}.pid").read_text())
            for name in names
            if (self.folder / f"{name}.pid").exists()
        ]
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + UP_S
        for pid in pids:
            while is_running(pid) and time.monotonic() < deadline:
                time.sleep(0.1)
            if is_running(pid):
                os.kill(pid, signal.SIGKILL)
        self._kill_left_behind()

    def _kill_left_behind(self) -> None:
        """Kill the processes that outlived their job.

        A Snakemake in a job does if a signal comes while it holds its lock, for which
        it waits then, and SLURM ends the shell that has started it.
        """
        conf = str(self.folder / "slurm.conf")
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.environ().get("SLURM_CONF") == conf:
                    process.kill()

    def call(self, *command: str) -> str:
        """Return what a SLURM command prints."""
        done = subprocess.run(
            [self.bin / command[0], *command[1:]],
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()


def free_ports(number: int) -> list[int]:
    """Return ports nobody listens on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def is_running(pid: int) -> bool:
    """Return whether a process is there, and no zombie."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"
