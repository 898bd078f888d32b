# Before and after a run: agree with DVC, show the result.

from retune.artifacts.finetune_metrics import FinetuneMetrics
from retune.artifacts.evaluation_metrics import EvaluationMetrics
from retune.artifacts.plan import REASONS, Plan, Reasons
from retune.artifacts.publishing import MANIFEST, read_json
from retune.artifacts.tokens_index import TokenMetrics
from retune.planning.score import Score
from retune.reporting.summary import summary_lines
from retune.training.schedules import find_warnings, resolve_learning_rate
from retune_start.gpus import gpu_problem


def is_users_own_run():
    """Return whether this is a run a user started, and not DVC or a --touch."""
    return (
        SNAKEMAKE.is_main_process
        and not SNAKEMAKE.is_touch
        and DRIVEN_BY_DVC not in os.environ
    )


def warn_of_length(jobid):
    """Say before finetune runs, and not only in its log, that it will hardly train."""
    job = SNAKEMAKE.find_job(jobid)
    if STEP_RULES.step_of(job.rule) != "finetune":
        return
    source = read_json(Path(job.inputs["base"]) / MANIFEST).get("source", "")
    settings = resolve_learning_rate(PARAMS.finetune, source)
    plan = Path(job.inputs["plan"])
    batch_size = Plan.read(plan).global_batch_size
    blocks = Reasons.read(plan.with_name(REASONS)).train_blocks
    for warning in find_warnings(settings, blocks, batch_size):
        logger.warning(warning)


def check_gpus():
    """Stop before anything starts if this machine lacks GPUs of a step that is to run."""
    hardware, jobs = PARAMS.hardware, SNAKEMAKE.needed_jobs()
    is_elsewhere = hardware.nodes > 1 or is_job() or named_hostfile()
    if SNAKEMAKE.executor != "local" or is_elsewhere:
        return
    steps = {"finetune", "baseline", "evaluate", "sample"} & set(steps_of(jobs))
    if steps and (problem := gpu_problem(hardware, trains="finetune" in steps)):
        stop(problem)


def check_folders():
    """Stop before anything starts if it could not write what it makes."""
    jobs = SNAKEMAKE.needed_jobs()
    outputs = [path for job in jobs for path in job.outputs]
    logs = [path for job in jobs for path in job.logs]
    logs += [job.benchmark for job in jobs if job.benchmark]
    folders = ["state"] if "finetune" in steps_of(jobs) else []
    trees = [".dvc/tmp"] if RECORDER and not RECORDER.not_recorded else []
    if problem := writing_problem(outputs, logs, folders, trees):
        stop(problem)


def show_result():
    """Print base against tuned, and where things are."""
    evaluation = EvaluationMetrics.read(Path("metrics/evaluation.json"))
    tokens = TokenMetrics.read(Path("metrics/tokens.json"))
    trained = FinetuneMetrics.read(Path("metrics/finetune.json"))
    score = Score.read(Path("plan"), trained)
    lines = summary_lines(evaluation, tokens.has_answers, score)
    logger.info("\n".join(["", *lines, ""]))
    for what, path in {"model": "models/tuned", "report": "report.html"}.items():
        if Path(path).exists():
            logger.info(f"{what:<8} {path}")


def check_before_start():
    """Stop before anything starts if it could not work; look after SLURM's jobs."""
    for check, what in {
        check_nodes: "the nodes",
        check_slurm: "SLURM",
        check_gpus: "the GPUs",
        check_folders: "the folders",
    }.items():
        UPGRADES.attempt(f"{what} were not checked", ["snakemake"], check, None)
    UPGRADES.attempt("SLURM's jobs are not watched", SLURM_TOOLS, watch_jobs, None)


def warn_before_start(jobid):
    """Say what should be known of a job before it starts."""
    UPGRADES.attempt(
        "the length of the training was not checked",
        ["snakemake"],
        lambda: warn_of_length(jobid),
        None,
    )


def show_result_of_own_run():
    """Show the result if the user started this run, and it made one."""
    made = {"report", "publish"} & set(steps_of(SNAKEMAKE.finished_jobs()))
    if made and is_users_own_run():
        show_result()


onstart:
    if SNAKEMAKE.is_main_process:
        check_before_start()
    lock_before_start()
    if SNAKEMAKE.is_main_process and not SNAKEMAKE.is_touch:
        logger.addHandler(JobEvents(warn_before_start, lambda jobid: None))


onsuccess:
    end_with_dvc()
    UPGRADES.attempt(
        "the result is not shown", ["snakemake"], show_result_of_own_run, None
    )


onerror:
    end_with_dvc()
