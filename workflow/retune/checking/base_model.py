"""Whether the base model is there, whole, and one that can be trained."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import get_token

from retune.artifacts.model_facts import ModelFacts
from retune.artifacts.origins import ModelOrigin
from retune.artifacts.verifying import WEIGHTS, verify_folder
from retune.checking.outcome import Outcome, failed, not_checked
from retune.errors import RetuneError
from retune.models.base_chat_template import find_template, tokens_of
from retune.models.base_model_files import check_files, title_of
from retune.models.find_model_facts import find_model_facts
from retune.quantities import parameters
from retune.settings import ModelSettings
from retune.settings.user_paths import user_path
from retune.sources.local_model import problem_of_folder
from retune.sources.local_sources import chat_template_files
from retune.steps.fetch import check_headers, copy_folder, make_builtin
from retune.tokens.bos_eos import token_ids

# Weights of which a copy with more rows is not made here, bytes.
LARGEST_COPY = 2_000_000_000


@dataclass(frozen=True)
class BaseModel:
    """The base model, as `fetch` would publish it.

    Attributes:
        folder: Folder with config.json, the tokenizer, and the weights or links to
            them.
        facts: Its facts.
        has_template: Whether its chat template is the one of the settings.
    """

    folder: Path
    facts: ModelFacts
    has_template: bool = True


def check_base_model(
    settings: ModelSettings, folder: Path, made: Path, is_fresh: bool
) -> tuple[BaseModel | None, Outcome]:
    """Return the base model, and what is wrong with it.

    The values of the weights are not read: `fetch` does that.

    Args:
        settings: The section `model`.
        folder: Empty folder for a copy of the small files, with links to the others.
        made: Folder that `fetch` has made, if it has.
        is_fresh: Whether `fetch` would not run again.

    Returns:
        The model; None if it is not here, or wrong.
    """
    errors: list[RetuneError] = []
    try:
        chat_template_files(settings)
    except RetuneError as error:
        errors.append(error)
    base = None
    try:
        if settings.source == "hub":
            base = find_made(settings, made, is_fresh)
        else:
            base = stage(settings, folder, has_template=not errors)
    except RetuneError as error:
        errors.append(error)
    except OSError as error:
        key = title_of(settings)[0]
        errors.append(RetuneError(f"model.{key}: {error.filename}: {error.strerror}"))
    if errors:
        return base, failed(*errors, found=title_of(settings)[1])
    return base, outcome_of(settings, base)


def outcome_of(settings: ModelSettings, base: BaseModel | None) -> Outcome:
    """Return the outcome for a model that is good; None: it is not here yet."""
    title = title_of(settings)[1]
    if base is None:
        gated = "" if get_token() else "; if it is gated: HF_TOKEN is not set"
        return not_checked(f"{title}: fetch downloads it{gated}")
    facts = base.facts
    return Outcome(f"{title}: {facts.architecture}, {parameters(facts.num_parameters)}")


def find_made(settings: ModelSettings, made: Path, is_fresh: bool) -> BaseModel | None:
    """Return the model of the hub that `fetch` has made of these settings, if any.

    Args:
        settings: The section `model`.
        made: Folder that `fetch` has made, if it has.
        is_fresh: Whether `fetch` would not run again.
    """
    try:
        origin = ModelOrigin.read_from(made)
        verify_folder(made, "fetch", leave_out=[WEIGHTS])
        facts = ModelFacts.read(made)
    except (RetuneError, FileNotFoundError):
        return None
    wanted = settings.name, settings.revision, settings.split_special_tokens
    if (origin.name, origin.revision, facts.split_special_tokens) != wanted:
        return None
    return BaseModel(made, facts, has_template=is_fresh)


def stage(settings: ModelSettings, folder: Path, has_template: bool) -> BaseModel:
    """Return the model that `fetch` would make, without a copy of its weights.

    Args:
        settings: The section `model`.
        folder: Empty folder for it.
        has_template: Whether there is the chat template that the settings name.

    Raises:
        RetuneError: If the model is not there, damaged, or cannot be trained.
    """
    if settings.source == "builtin":
        make_builtin(settings, folder)
    else:
        source = user_path(settings.folder or "")
        if problem := problem_of_folder(source):
            raise RetuneError(f"model.folder: {source} {problem}")
        copy_folder(settings, folder, link_weights)
        check_files(settings, folder)
        check_headers(settings, folder)
    split = settings.split_special_tokens
    wanted = settings.chat_template
    if not has_template or would_copy(folder, wanted):
        facts = find_model_facts(folder, split)
        return BaseModel(folder, facts, has_template=False)
    return BaseModel(folder, find_model_facts(folder, split, wanted))


def link_weights(source: Path, target: Path) -> None:
    """Copy a small file; make a link to a file of weights."""
    if source.suffix == ".safetensors":
        target.symlink_to(source.resolve())
    else:
        shutil.copyfile(source, target)


def would_copy(folder: Path, wanted: str) -> bool:
    """Return whether tokens for a chat template would be added to large weights.

    Args:
        folder: Folder of the model.
        wanted: The setting `model.chat_template`.
    """
    num_bytes = sum(file.stat().st_size for file in folder.glob(WEIGHTS))
    if wanted == "auto" or num_bytes <= LARGEST_COPY:
        return False
    if not (folder / "tokenizer.json").exists():
        return True
    return bool({*tokens_of(find_template(None, wanted) or "")} - {*token_ids(folder)})
