"""All checks of a run, one after another."""

from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from retune.artifacts.verifying import WEIGHTS
from retune.checking.base_model import BaseModel, check_base_model
from retune.checking.data import (
    FirstDocuments,
    check_data,
    check_prepare,
    is_on_hub,
    read_made,
)
from retune.checking.outcome import Outcome, failed, not_checked
from retune.checking.packages import check_packages
from retune.checking.plan import check_deepspeed_config, check_plan
from retune.checking.sections import WRONG, Sections
from retune.checking.this_machine import (
    check_compilers,
    check_gpus,
    check_main_memory,
    check_nvme,
    check_room,
)
from retune.checking.tokens import check_evaluation, check_tokens, read_tokens
from retune.checking.training import check_training
from retune.checking.unfinished import unfinished_problems
from retune.errors import RetuneError
from retune.settings import (
    DatasetSettings,
    EvaluateSettings,
    FinetuneSettings,
    ModelSettings,
    PrepareSettings,
    TokenizeSettings,
)
from retune.settings.rules import WrongKeyError
from retune.steps.configure import PlannedTraining

# What the steps make.
RAW, BASE, TOKENS = Path("data/raw"), Path("models/base"), Path("data/tokens")
# The trainings, which are nobody's output.
STATE = Path("state")
# A check's name, and what it came to.
Check = tuple[str, Outcome]


def run_checks(sections: Sections, fresh: Collection[str] = ()) -> Iterator[Check]:
    """Yield the name and the outcome of each check of what the sections name.

    What would be made is made in a temporary folder, as far as it is small; of the
    folder of the run nothing is changed.

    Args:
        sections: The sections of params.yaml; the folder of the run is the current one.
        fresh: Steps that have run and would not run again.
    """
    with TemporaryDirectory(prefix="retune-check-") as scratch:
        yield from checks_of(sections, Path(scratch), fresh)


def checks_of(
    sections: Sections, scratch: Path, fresh: Collection[str]
) -> Iterator[Check]:
    """Yield the checks of what the sections name."""
    dataset = sections.whole(DatasetSettings)
    prepare = sections.whole(PrepareSettings)
    documents = None
    if dataset is None:
        yield "dataset", not_checked(WRONG.format("dataset"))
    else:
        (scratch / "raw").mkdir()
        documents, outcome = documents_of(dataset, scratch / "raw", fresh)
        yield "dataset", outcome
    outcome = check_prepare(prepare, documents)
    yield "prepare", outcome
    if outcome.errors:
        documents = None
    model, base = sections.whole(ModelSettings), None
    if model is None:
        yield "model", not_checked(WRONG.format("model"))
    else:
        (scratch / "base").mkdir()
        is_fresh = "fetch" in fresh
        base, outcome = check_base_model(model, scratch / "base", BASE, is_fresh)
        yield "model", outcome
    yield "packages", check_packages(sections)
    tokenize, sequences = sections.whole(TokenizeSettings), None
    if tokenize is None:
        yield "tokens", not_checked(WRONG.format("tokenize"))
    elif "tokenize" in fresh and (sequences := read_tokens(TOKENS)):
        yield "tokens", Outcome(f"{sequences.blocks:,} blocks of {sequences.length:,}")
    elif base is None:
        yield "tokens", not_checked("it needs the model")
    else:
        sequences, outcome = check_tokens(tokenize, prepare, base, documents, scratch)
        yield "tokens", outcome
    evaluate = sections.whole(EvaluateSettings)
    if evaluate is None:
        yield "evaluation", not_checked(WRONG.format("evaluate"))
    elif base is None:
        yield "evaluation", not_checked("it needs the model")
    else:
        yield "evaluation", check_evaluation(evaluate, base)
    planned, outcome = check_plan(sections, base, sequences)
    yield "plan", outcome
    plan = planned.plan if planned else None
    finetune = sections.whole(FinetuneSettings)
    if not (plan and planned and sequences and sequences.index):
        yield "training", not_checked("it needs the plan and the training sequences")
    elif finetune is None or model is None:
        yield "training", not_checked(WRONG.format("finetune"))
    else:
        index = sequences.index
        outcome = check_training(finetune, model.source, plan, index)
        # Only then the tokens are those that would be trained on.
        is_made = {"fetch", "tokenize"}.issubset(fresh)
        # A plan that is there may have been made elsewhere: `finetune` looks itself.
        is_planned_now = not {"configure", "finetune"}.intersection(fresh)
        if is_made and is_planned_now and not outcome.errors:
            folders = BASE, TOKENS, STATE
            errors = unfinished_problems(
                sections, model.source, planned, index, folders
            )
            outcome = replace(outcome, errors=errors)
        yield "training", outcome
    try:
        nvme = check_nvme(sections, plan)
    except WrongKeyError:
        nvme = not_checked("a section that decides it has an error")
    yield "NVMe", nvme
    yield from checks_of_plan(sections, base, planned)


def documents_of(
    dataset: DatasetSettings, folder: Path, fresh: Collection[str]
) -> tuple[FirstDocuments | None, Outcome]:
    """Return the first documents, and what is wrong with them.

    Args:
        dataset: The section `dataset`.
        folder: Empty folder for the documents.
        fresh: Steps that have run and would not run again.
    """
    if "download" not in fresh or not is_on_hub(dataset):
        return check_data(dataset, folder)
    try:
        return read_made(RAW, folder)
    except (RetuneError, FileNotFoundError) as error:
        return None, failed(error)


def checks_of_plan(
    sections: Sections, base: BaseModel | None, planned: PlannedTraining | None
) -> Iterator[Check]:
    """Yield the checks of what a plan needs."""
    if planned is None or base is None:
        for name in ("deepspeed.json", "compilers", "GPUs", "memory", "disk"):
            yield name, not_checked("it needs the plan")
        return
    plan = planned.plan
    yield "deepspeed.json", check_deepspeed_config(planned)
    yield "compilers", check_compilers(plan)
    yield "GPUs", check_gpus(plan)
    yield "memory", check_main_memory(planned)
    try:
        keep = sections.part(FinetuneSettings).save_total_limit
    except WrongKeyError:
        yield "disk", not_checked(WRONG.format("finetune"))
        return
    num_bytes = sum(path.stat().st_size for path in base.folder.glob(WEIGHTS))
    yield "disk", check_room(plan, keep, Path(), num_bytes)
