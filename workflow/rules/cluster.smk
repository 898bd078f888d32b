# What each step's job asks a cluster for. Resources rerun nothing, and on one machine
# they say what a step takes. A profile's set-resources go before all of it.
import errno
import functools
import re
import signal

from snakemake.logging import logger

from retune_workflow.job_requests import (
    data_request,
    evaluation_request,
    finetune_request,
    join_request,
    least_runtime,
    sample_request,
)
from retune.settings import HELD_OUT
from retune.launching.hostfile import named_hostfile
from retune.launching.slurm import is_job
from retune_slurm.command_line import read_settings
from retune_slurm.dry_run import request_line
from retune_slurm.executor_internals import EXECUTOR, jobs_of_run
from retune_slurm.presence import slurm_problem
from retune_slurm.watch import Watch

# The private names that a run on SLURM goes by.
SLURM_TOOLS = "snakemake", "snakemake-executor-plugin-slurm"


def read_slurm_settings():
    """Return the settings of SLURM's executor, None if no job would be SLURM's.

    A job's own Snakemake needs none.
    """
    if not SNAKEMAKE.is_main_process:
        return None
    return UPGRADES.attempt(
        "what SLURM would be asked for is not known",
        SLURM_TOOLS,
        lambda: read_settings(sys.argv[1:]),
        None,
    )


slurm_settings = read_slurm_settings()

# SLURM signals every process of a job. This Snakemake ignores the signal and waits for
# its step, which saves a checkpoint.
signal.signal(signal.SIGUSR1, signal.SIG_IGN)

# CPUs: in finetune one feeds a GPU, others prepare batches, hash and offload.
CPUS_PER_GPU, CPUS_PER_CPU_RANK, CPUS_PER_STEP = 8, 4, 4
# In evaluation a process with a copy of the model hands work to its GPU, and that is all.
CPUS_PER_COPY = 2
# Memory of a GPU, GB, that every node will have.
SMALL_GPU_GB = 16


def own(step, resource):
    """Return what the profile's set-resources give a step, None if nothing."""
    return UPGRADES.attempt(
        "set-resources are not known",
        ["snakemake"],
        lambda: SNAKEMAKE.profile_resource(RULES[step], resource),
        None,
    )


def site(step, resource):
    """Return what the profile gives a step of a resource, None if nothing."""
    if (value := own(step, resource)) is not None:
        return value
    return UPGRADES.attempt(
        "default-resources are not known",
        ["snakemake"],
        lambda: SNAKEMAKE.default_resource(resource),
        None,
    )


def runs_here(step):
    """Return whether a step that needs a network runs beside Snakemake.

    It does unless the profile names a partition that has one.
    """
    return own(step, "slurm_partition") is None


def gpus(step, number):
    """Return the resources for GPUs of one node, of the profile's gpu_type."""
    if not number:
        return {}
    kind = site(step, "gpu_type")
    name = f"gpu:{kind}" if kind else "gpu"
    # On one machine they are taken in turn.
    return {"gres": f"{name}:{number}", "gpu_jobs": 1}


def files_to_come():
    """Return what this run has still to make; an older one of that name says nothing."""
    jobs = UPGRADES.attempt(
        "what this run has still to make is not known",
        ["snakemake"],
        lambda: SNAKEMAKE.needed_jobs(or_finished=SNAKEMAKE.is_dry_run),
        [],
    )
    return {path for job in jobs for path in job.outputs}


def estimated(request, resource):
    """Return a resource that is taken from a request, once the inputs exist."""

    def value(wildcards, input):
        try:
            if not files_to_come().isdisjoint(input):
                raise FileNotFoundError(errno.ENOENT, "to come")
            return getattr(request(input), resource)
        except (OSError, ValueError, KeyError, RetuneError):
            # Not there yet, or damaged, which the step will say. Snakemake shows <TBD>
            # for an input that is missing, and asks again later.
            raise FileNotFoundError(errno.ENOENT, "unknown", str(input[0])) from None

    return value


def estimates(request):
    """Return memory, time and CPUs as resources."""
    return {
        "mem_mb": estimated(request, "mem_mb"),
        "runtime": estimated(request, "runtime"),
        "cpus_per_task": CPUS_PER_STEP,
    }


def request_of_finetune(input):
    """Return what finetune's job asks for."""
    return finetune_request(PARAMS.finetune, Path(input.plan), Path(input.tokens))


def gpus_of(step):
    """Return how many GPUs an evaluation uses: the profile's `gres` may ask for fewer."""
    found = re.search(r"\bgpu(:[a-zA-Z][^:,]*)?(:(\d+))?", str(own(step, "gres") or ""))
    number = gpus_per_node()
    return min(int(found[3] or 1), number) if found else number


def gpus_gb(step):
    """Return the memory of each GPU of a job, GB, a low one where it is not known."""
    memory_gb = PARAMS.hardware.gpu_memory_gb
    return [SMALL_GPU_GB if memory_gb == "auto" else memory_gb] * gpus_of(step)


def evaluation_resources(step, model):
    """Return the resources of a step that scores a model on the GPUs of a node."""

    def request(input):
        scored = [Path(input.clean) / f"{split}.parquet" for split in HELD_OUT]
        return evaluation_request(
            PARAMS.evaluate, gpus_gb(step), Path(input.base), Path(input[model]), scored
        )

    number = gpus_of(step)
    return {
        **gpus(step, number),
        **estimates(request),
        "cpus_per_task": max(CPUS_PER_STEP, number * CPUS_PER_COPY),
    }


def request_of_sample(input):
    """Return what `sample` asks for."""
    models = Path(input.base), Path(input.consolidated)
    dtype = PARAMS.evaluate.dtype
    return sample_request(PARAMS.sample, dtype, gpus_gb("sample"), *models)


def cpus_of_finetune():
    """Return the CPUs of one node that finetune's ranks share."""
    cpus = gpus_per_node() * CPUS_PER_GPU or ranks_per_node() * CPUS_PER_CPU_RANK
    wanted = own("finetune", "cpus_per_task")
    return wanted if isinstance(wanted, int) else cpus


def finetune_resources():
    """Return finetune's resources: on several nodes it starts a process on each."""
    nodes, number = PARAMS.hardware.nodes, gpus_per_node()
    # Without the last of them the executor would have GPUs and tasks multiplied.
    several = {"mpi": "srun", "tasks": nodes, "tasks_per_gpu": 0} if nodes > 1 else {}
    check_notice()
    notice = estimated(request_of_finetune, "notice_s")

    def slurm_extra(wildcards, input):
        extra = site("finetune", "slurm_extra") or ""
        seconds = notice(wildcards, input)
        check_runtime(seconds)
        return f"--signal=USR1@{seconds} {extra}".strip()

    return {
        "nodes": nodes,
        **several,
        **gpus("finetune", number),
        **estimates(request_of_finetune),
        "cpus_per_task": cpus_of_finetune(),
        "slurm_extra": slurm_extra,
    }


def check_notice():
    """Stop if a profile takes from finetune the signal before its time limit."""
    if (extra := own("finetune", "slurm_extra")) is None:
        return
    if found := re.search(r"--signal=\S*@(\d+)", str(extra)):
        check_runtime(int(found[1]))
    elif "--signal=" not in str(extra):
        stop(
            "set-resources: finetune: slurm_extra: this replaces retune's own, which"
            " asks for a signal before the time limit; add --signal=USR1@300, or write"
            " it under default-resources"
        )


@functools.cache
def check_runtime(notice_s):
    """Warn if a profile gives finetune less time than a single step may need."""
    runtime, least = own("finetune", "runtime"), least_runtime(notice_s)
    if slurm_settings and isinstance(runtime, int) and runtime < least:
        logger.warning(
            f"set-resources: finetune: runtime: {runtime} minutes may be too few for a"
            f" single step, since its job is stopped {notice_s} s before; {least} would do"
        )


def is_submitted(job):
    """Return whether a job would go to SLURM, and not run beside Snakemake."""
    return slurm_settings is not None and not SNAKEMAKE.runs_beside_snakemake(job)


def check_auto():
    """Stop if the plan for a cluster would be made from what this machine has."""
    for name in ("accelerator", "ranks_per_node"):
        if getattr(PARAMS.hardware, name) == "auto":
            stop(
                f"hardware.{name}: auto asks the machine that configure runs on, which"
                " on a cluster is not the one that trains; write what that one has"
            )


def check_nodes():
    """Stop before anything starts if finetune will not find its nodes."""
    nodes = PARAMS.hardware.nodes
    on_slurm = SNAKEMAKE.executor == EXECUTOR or is_job()
    if nodes > 1 and not (on_slurm or named_hostfile()):
        stop(
            f"hardware.nodes: {nodes}: on a SLURM cluster run snakemake"
            " --workflow-profile profiles/slurm train; elsewhere name a hostfile in"
            " RETUNE_HOSTFILE (docs/cluster.md)"
        )


def check_slurm():
    """Stop before anything starts if no job can be submitted."""
    if SNAKEMAKE.executor == EXECUTOR and (problem := slurm_problem()):
        stop(problem)


def watch_jobs():
    """Look after this run's SLURM jobs."""
    if SNAKEMAKE.executor == EXECUTOR:
        jobs = jobs_of_run(SNAKEMAKE)
        Watch(jobs, jobs.interval, logger.warning).start()


if slurm_settings:
    check_auto()
