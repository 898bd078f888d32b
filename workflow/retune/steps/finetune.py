"""The step `finetune`: start the ranks, show their progress, publish the result."""

import logging
import shutil
import time
from pathlib import Path

from tqdm import tqdm

from retune.artifacts.checkpoint_manifest import CheckpointManifest
from retune.artifacts.finetune_metrics import FinetuneMetrics
from retune.artifacts.model_facts import ModelFacts
from retune.artifacts.plan import DEEPSPEED, PLAN, Plan
from retune.artifacts.publishing import (
    MANIFEST,
    published_folder,
    read_json,
    write_text,
)
from retune.artifacts.run_spec import RunSpec
from retune.artifacts.tokens_index import TokensIndex
from retune.artifacts.training_operations import (
    OPERATIONS,
    TRACE,
    TrainingOperations,
)
from retune.artifacts.verifying import verify_folder
from retune.checkpoints.checkpoint_files import (
    best_of,
    find_checkpoints,
    find_damage,
    link_folder,
    step_of,
)
from retune.checkpoints.checkpoint_progress import CheckpointProgress
from retune.engines.swap_folders import remove_swap_files
from retune.errors import RetuneError, Stopped
from retune.launching import several_machines, slurm, this_machine
from retune.launching.compiled_operators import build_ops
from retune.launching.control_file import end_earlier_nodes
from retune.launching.devices import check_devices
from retune.launching.flash_attention import check_flash_attention
from retune.launching.liger import check_liger_kernel
from retune.launching.memory_advice import advice_on
from retune.measuring.history import (
    RunStart,
    read_history,
    read_measurements,
    read_start,
    steps_in,
    validations_in,
)
from retune.measuring.history_tables import steps_csv, validations_csv
from retune.measuring.provenance import record_provenance
from retune.planning.score import Score
from retune.quantities import counted
from retune.settings import (
    FinetuneSettings,
    TrainedWeightsSettings,
    four_bit_problems,
    schedule_problems,
    swap_problems,
)
from retune.supervision.failures import RankError
from retune.supervision.starter import starter
from retune.supervision.stopping import StopRequest
from retune.supervision.watched_progress import BarAndLog
from retune.terminal.progress import progress_bar
from retune.tokens.mixture import Mixture
from retune.training.metrics import metrics_of
from retune.training.run_key import RunIdentity, open_run, packages_of_weights
from retune.training.run_lock import only_run_in
from retune.training.schedules import (
    bf16_warnings,
    find_warnings,
    num_steps,
    resolve_learning_rate,
)
from retune.training.unfinished import (
    find_unfinished,
    read_left_open,
    refuse_other_strategy,
    tell_unfinished,
)
from retune.training.verified_inputs import LARGE, NOT_READ

log = logging.getLogger(__name__)

# Before the name of a run that is being removed.
REMOVED = ".removed-"


def run(
    settings: FinetuneSettings,
    nvme_path: str,
    base: Path,
    tokens: Path,
    plan: Path,
    state: Path,
    checkpoint: Path,
    history: Path,
    validation: Path,
    provenance: Path,
    operations: Path,
    metrics: Path,
) -> str:
    """Train on the ranks of the plan, resuming what an earlier start left in `state`.

    `state` is no output of the step, because Snakemake and DVC delete outputs before a
    rerun. A run's folder in it is named by a hash of everything the training depends
    on, so another setting never resumes it. It is removed once the result is published.

    Args:
        settings: The `finetune` section.
        nvme_path: Folder on a fast local disk, `nvme_path` of the `hardware` section.
        base: Folder of the base model that fetch made (models/base).
        tokens: Folder of the tokens that tokenize made (data/tokens).
        plan: Folder of the plan that configure made (plan).
        state: Folder of the checkpoints that a later start resumes from (state).
        checkpoint: Folder to publish: the last checkpoint, a file per rank
            (results/finetune/checkpoint).
        history: CSV file to write: what each step measured
            (results/finetune/history.csv).
        validation: CSV file to write: the validation losses
            (results/finetune/validation.csv).
        provenance: JSON file to write: where the training ran, with which versions
            (results/finetune/provenance.json).
        operations: JSON file to write: what a few steps' time went to, if `profile` is
            set; beside it then trace.json.gz (results/finetune/operations.json).
        metrics: JSON file to write: losses, speed, memory (metrics/finetune.json).

    Returns:
        Steps, losses and speed in one line, what of it was predicted, and where it was
        resumed, for people.

    Raises:
        Stopped: If a signal asked for it, after a checkpoint.
        RetuneError: If an input is damaged, a rank fails, or an unfinished training
            differs in nothing but what configure chose.
    """
    verify_inputs(base, tokens, plan)
    check_adapters(settings, ModelFacts.read(base))
    source = read_json(base / MANIFEST).get("source", "")
    settings = resolve_learning_rate(settings, source)
    spec = RunSpec.make(settings, base, tokens, plan, nvme_path)
    problems = swap_problems(nvme_path, spec.plan)
    schedule = spec.plan.lr_scheduler_type
    problems += schedule_problems(schedule, settings, "scheduler.type of the plan")
    if problems := problems + four_bit_problems(spec.plan, settings):
        raise RetuneError("\n".join(problems))
    check_4bit_plan(settings, spec.plan)
    check_devices(spec.plan)
    check_liger_kernel(spec.plan)
    check_flash_attention(spec.plan)
    for leftover in state.glob(f"{REMOVED}*"):
        shutil.rmtree(leftover, ignore_errors=True)
    identity = RunIdentity.of(spec)
    mixture = Mixture.of(TokensIndex.read(tokens), settings.mix)
    length = mixture.blocks_per_epoch, spec.plan.global_batch_size
    total, warnings = num_steps(settings, *length), find_warnings(settings, *length)
    warnings += bf16_warnings(settings, spec.plan.bf16_optimizer_states, total)
    for warning in warnings:
        log.warning("%s", warning)
    unfinished = find_unfinished(state, identity)
    refuse_other_strategy(unfinished, identity, read_left_open(plan), total)
    tell_unfinished(unfinished, identity)
    build_ops(spec.plan)
    begin = time.monotonic()
    with (
        only_run_in(state / identity.key),
        progress_bar("finetune", total, "steps") as bar,
    ):
        run_state = open_run(state, identity)
        spec.write(run_state)
        run_ranks(spec, run_state, bar)
        result = checkpoint_to_publish(run_state, settings)
        rows, start = read_history(run_state), read_start(run_state)
        measured = read_measurements(run_state), start, read_progress(result)
        numbers = metrics_of(rows, *measured, time.monotonic() - begin)
        publish_checkpoint(result, checkpoint, settings)
        write_text(history, steps_csv(steps_in(rows)))
        write_text(validation, validations_csv(validations_in(rows)))
        packages = packages_of_weights(spec)
        record_provenance(Path.cwd(), packages).write(provenance)
        publish_profile(run_state, operations)
        numbers.write(metrics, history, validation, provenance, operations)
        keep_for_the_next_run()
        remove_run(run_state)
        remove_swap_files(spec, run_state.name)
    return (
        f"{counted(numbers.steps, 'step')}, validation loss"
        f" {validations_in(rows)[0].validation_loss:.3f} ->"
        f" {numbers.validation_loss:.3f}, {numbers.tokens_per_second:,.0f} tokens/s"
        + score_in_words(plan, numbers)
        + mixture_in_words(mixture)
        + resumed_in_words(start, spec.plan.world_size)
        + "".join(f"; {warning}" for warning in warnings)
    )


def verify_inputs(base: Path, tokens: Path, plan: Path) -> None:
    """Check that the step's input files are as they were written.

    The large files are left out: the ranks verify those before they load them.

    Raises:
        RetuneError: If a file is damaged or missing.
    """
    verify_folder(base, "fetch", leave_out=LARGE)
    verify_folder(tokens, "tokenize", leave_out=(*LARGE, *NOT_READ))
    Plan.read_verified(plan / PLAN, plan / DEEPSPEED)


def check_adapters(settings: TrainedWeightsSettings, facts: ModelFacts) -> None:
    """Raise RetuneError if tokens were added to the model that would not be learnt.

    Adapters leave the embedding and the output head as they are.
    """
    if settings.lora and (added := facts.added_tokens):
        raise RetuneError(
            f"finetune.lora: it leaves the embedding frozen, so the"
            f" {counted(len(added), 'token')} that fetch added for model.chat_template"
            " would never be learnt. Write model.chat_template: alpaca, which needs"
            " none, or choose a model that has these tokens, or leave finetune.lora out"
        )


def check_4bit_plan(settings: FinetuneSettings, plan: Plan) -> None:
    """Raise RetuneError if the plan holds weights in 4 bits and the settings do not.

    Or the other way round: memory, and the time of a job, would be planned wrongly.
    """
    in_4bit = settings.lora is not None and settings.lora.load_in_4bit
    if in_4bit != (plan.num_4bit_parameters > 0):
        other = "without weights in 4 bits" if in_4bit else "for weights in 4 bits"
        raise RetuneError(
            f"finetune.lora.load_in_4bit: {str(in_4bit).lower()}, but the plan was made"
            f" {other}; rerun configure"
        )


def score_in_words(plan: Path, numbers: FinetuneMetrics) -> str:
    """Return what was predicted and then measured, in words."""
    score = Score.read(plan, numbers)
    return f"; {score.line}" if score and score.line else ""


def mixture_in_words(mixture: Mixture) -> str:
    """Return what an epoch reads of each source, in words; nothing if it reads all."""
    if not mixture.sources:
        return ""
    read = [f"{source.name} {source.places:,}" for source in mixture.sources]
    return f"; blocks of each source in an epoch: {', '.join(read)}"


def resumed_in_words(start: RunStart, world_size: int) -> str:
    """Return where the run was resumed, in words; nothing if it was not.

    Args:
        start: Where the last start of the run began.
        world_size: Number of ranks now.
    """
    if start.saved_on is None:
        return ""
    moved = f", saved on {counted(start.saved_on, 'rank')}, now on {world_size}"
    ranks = "" if start.saved_on == world_size else moved
    return f" (resumed at step {start.step}{ranks})"


def read_progress(checkpoint: Path) -> CheckpointProgress:
    """Return how far the training was at a checkpoint, from its manifest."""
    manifest = CheckpointManifest.read(checkpoint)
    return CheckpointProgress(manifest.step, manifest.skipped, manifest.validation_loss)


def checkpoint_to_publish(state: Path, settings: FinetuneSettings) -> Path:
    """Return the last checkpoint, or the best one if that is wanted.

    Raises:
        RetuneError: If the best one has been damaged since it was written.
    """
    folders = find_checkpoints(state)
    best = best_of(folders) if settings.load_best_model_at_end else None
    # The last checkpoint needs no check: it has just been written, or was verified
    # before it was resumed.
    if best not in (None, folders[-1]) and (problem := find_damage(best)):
        raise RetuneError(
            f"{best}, the best checkpoint, cannot be published ({problem}); bring back"
            " a good copy, or write finetune.load_best_model_at_end: false"
        )
    return best or folders[-1]


def publish_checkpoint(
    result: Path, checkpoint: Path, settings: FinetuneSettings
) -> None:
    """Publish a checkpoint, without the optimizer's moments if that is wanted.

    Args:
        result: The checkpoint, under `state`.
        checkpoint: Folder to publish.
        settings: The `finetune` section.
    """
    with published_folder(checkpoint) as stage:
        link_folder(result, stage)
        if settings.save_only_model:
            from retune.checkpoints.moments import leave_out_moments

            leave_out_moments(result, stage)


def publish_profile(state: Path, operations: Path) -> None:
    """Publish what the ranks have profiled, or that they have not.

    The trace is no output of the step, because it is not always there.

    Args:
        state: Folder of the run.
        operations: JSON file to write; the trace goes beside it.
    """
    measured = TrainingOperations()
    trace = operations.with_name(TRACE)
    trace.unlink(missing_ok=True)
    if (state / OPERATIONS).exists():
        measured = TrainingOperations.read(state / OPERATIONS)
        trace.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(state / TRACE, trace)
    measured.write(operations)


def run_ranks(run: RunSpec, state: Path, bar: tqdm) -> None:
    """Run the ranks to the last step, on this machine or on several.

    Args:
        run: The training.
        state: Folder of its checkpoints.
        bar: Bar of optimizer steps.

    Raises:
        Stopped: If a signal asked for it, after a checkpoint.
        RetuneError: With the error of the rank that failed first, or that hangs.
    """
    plan, progress = run.plan, BarAndLog(bar)
    end_earlier_nodes(state)
    this_machine.remove_leftovers(state)
    try:
        with StopRequest() as stop:
            if plan.nodes > 1:
                several_machines.run_nodes(plan, state, progress, stop)
            else:
                command = this_machine.rank_command(state)
                with this_machine.started(
                    command, plan.accelerator, plan.world_size
                ) as ranks:
                    timeout = run.settings.ddp_timeout
                    this_machine.follow(ranks, state, progress, stop, timeout)
    except RankError as error:
        if shortage := error.failure.shortage:
            advice = advice_on(shortage, state)
            raise RetuneError(f"{error}: {advice}") from error
        raise
    finally:
        this_machine.remove_leftovers(state)
    done = newest_step(state)
    if done < bar.total:
        # Without a signal here, one went to a rank, which told the others.
        on = stop.received[0].name if stop.received else "a signal to a rank"
        raise Stopped(
            f"stopped at step {done} of {bar.total} on {on} and saved;"
            f" {how_it_goes_on()}"
        )


def newest_step(state: Path) -> int:
    """Return the step of a run's newest checkpoint; 0 if there is none."""
    return max(map(step_of, find_checkpoints(state)), default=0)


def keep_for_the_next_run() -> None:
    """Stop if the process that started this step has ended.

    Nobody would then use the published files. The run's folder stays, and the next
    start finds the last checkpoint and has nothing left to train.

    Raises:
        Stopped: If that process has ended.
    """
    if starter().gone() is not None:
        raise Stopped(
            "trained to the last step, but what started this step has ended; run the"
            " same command to go on"
        )


def remove_run(state: Path) -> None:
    """Remove the folder of a run that is published.

    It is renamed first, so that an interruption leaves all of it or nothing that could
    be resumed. Signals wait until this is done: after an interruption here Snakemake
    would run the step again, from the first step.
    """
    with StopRequest():
        rest = state.rename(state.with_name(f"{REMOVED}{state.name}"))
        shutil.rmtree(rest, ignore_errors=True)


def how_it_goes_on() -> str:
    """Return how a training that was stopped goes on, in words.

    A SLURM job is queued again. That ends, because every start takes at least one
    optimizer step.
    """
    if slurm.requeue():
        return "its SLURM job is queued again and goes on from there"
    return "run the same command to go on"
