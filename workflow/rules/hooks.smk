# Before and after a run: agree with DVC, show the result.
import json

from retune.publishing import MANIFEST, read_json
from retune.reporting.summary import summary_lines
from retune.training.schedules import find_warnings, resolve_learning_rate
from retune_start.gpus import gpu_problem


def is_users_own_run():
    """Return whether this is a run a user started, and not DVC or a --touch."""
    return (
        workflow.is_main_process
        and not workflow.touch
        and "DVC_STAGE" not in os.environ
    )


def warn_of_length(jobid):
    """Say before finetune runs, and not only in its log, that it will hardly train."""
    job = find_job(jobid)
    if STEPS.step_of(job.rule.name) != "finetune":
        return
    plan, base = read_json(Path(job.input.plan)), Path(job.input.base)
    source = read_json(base / MANIFEST).get("source", "")
    settings = resolve_learning_rate(PARAMS.finetune, source)
    length = plan["train_blocks"], plan["global_batch_size"]
    for warning in find_warnings(settings, *length):
        logger.warning(warning)


def check_gpus():
    """Stop before anything starts if this machine lacks GPUs of a step that is to run."""
    hardware, jobs = PARAMS.hardware, workflow.dag.needrun_jobs()
    is_elsewhere = hardware.nodes > 1 or is_job() or named_hostfile()
    if workflow.executor_plugin.name != "local" or is_elsewhere:
        return
    steps = {"finetune", "baseline", "evaluate"} & set(steps_of(jobs))
    if steps and (problem := gpu_problem(hardware, trains="finetune" in steps)):
        stop(problem)


def check_folders():
    """Stop before anything starts if it could not write what it makes."""
    jobs = list(workflow.dag.needrun_jobs())
    outputs = [path for job in jobs for path in job.output]
    logs = [path for job in jobs for path in job.log]
    logs += [job.benchmark for job in jobs if job.benchmark]
    folders = ["state"] if "finetune" in steps_of(jobs) else []
    trees = [".dvc/tmp"] if RECORDER and not RECORDER.problem else []
    if problem := writing_problem(outputs, logs, folders, trees):
        stop(problem)


def show_result():
    """Print base against tuned, and where things are."""
    evaluation = json.loads(Path("metrics/evaluation.json").read_text())
    logger.info("\n".join(["", *summary_lines(evaluation), ""]))
    logger.info("model    models/tuned")
    logger.info("report   report.html")


onstart:
    if workflow.is_main_process:
        check_nodes()
        check_slurm()
        check_gpus()
        check_folders()
        watch_jobs()
    hold_before_start()
    if workflow.is_main_process and not workflow.touch:
        logger.addHandler(JobEvents(warn_of_length, lambda jobid: None))


onsuccess:
    end_with_dvc()
    if is_users_own_run() and "report" in steps_of(workflow.dag.finished_jobs):
        show_result()


onerror:
    end_with_dvc()
