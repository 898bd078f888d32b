"""Step `fetch`: the base model as a Hugging Face folder.

Only safetensors and never code is copied, so nothing that arrives here can run.
"""

import logging
import re
import shutil
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from transformers import PreTrainedModel

from retune.artifacts.model_facts import StoredWeights
from retune.artifacts.origins import ModelOrigin, file_entries
from retune.artifacts.publishing import published_folder
from retune.models.base_model_checks import (
    problems_of_config,
    problems_of_family,
    problems_of_names,
    problems_of_tensors,
    problems_of_values,
)
from retune.models.base_model_files import (
    CONFIGS,
    TOKENIZER,
    check_files,
    check_index,
    check_names,
    problem,
    read_index,
    read_object,
    stop_at,
    title_of,
)
from retune.models.find_model_facts import find_model_facts
from retune.models.packing_check import problems_of_packing
from retune.models.skeleton import build_skeleton
from retune.models.stored_tensors import StoredTensor, list_stored_tensors
from retune.models.weight_matching import match_weights
from retune.quantities import counted, parameters, size
from retune.settings import ModelSettings
from retune.settings.user_paths import user_path
from retune.sources.hub_files import download_files, list_files
from retune.sources.hub_repository import Repository
from retune.sources.weight_file_formats import INDEX, WEIGHTS

# Copies files of the given names from the model's source.
Copy = Callable[[Sequence[str]], None]
# Messages of Transformers about a config.json of no family that it knows, or of one
# without a causal language model.
NO_CAUSAL_MODEL = "Unrecognized|does not recognize"
# Characters that are quoted of a message of Transformers.
QUOTED_CHARACTERS = 300

log = logging.getLogger(__name__)


def run(settings: ModelSettings, base: Path) -> str:
    """Publish the base model.

    Args:
        settings: The section `model`.
        base: Folder to publish: config.json, model.safetensors or its shards and
            index, the tokenizer's files, model_facts.json, manifest.json (models/base).

    Returns:
        The title of the model, its number of parameters and its size, and how many
        tokens were added for the chat template, for people.

    Raises:
        RetuneError: If a file is missing or damaged, if the model needs code of its
            own or is no causal language model, or if Transformers would train another
            model than the files hold.
    """
    make = {"builtin": make_builtin, "local": copy_folder, "hub": download_model}
    with published_folder(base) as stage:
        make[settings.source](settings, stage)
        origin = origin_of(settings, stage)
        check_files(settings, stage)
        check_model(settings, stage)
        facts = find_model_facts(
            stage, settings.split_special_tokens, settings.chat_template
        )
        facts.write(stage)
        origin.write_into(stage)
        num_bytes = sum(path.stat().st_size for path in stage.glob("*.safetensors"))
    title, count = title_of(settings)[1], parameters(facts.num_parameters)
    added = counted(len(facts.added_tokens), "token")
    note = f"; {added} added for {settings.chat_template}" if facts.added_tokens else ""
    return f"{title}: {count}, {size(num_bytes)}{note}"


def origin_of(settings: ModelSettings, folder: Path) -> ModelOrigin:
    """Return where the model comes from.

    Args:
        settings: The section `model`.
        folder: Folder with the model's files as they came. The files of a local model
            are recorded now, since a tokenizer in an older format is written anew.
    """
    match settings.source:
        case "hub":
            return ModelOrigin(
                source="hub", name=settings.name, revision=settings.revision
            )
        case "local":
            return ModelOrigin(
                source="local",
                path=settings.folder,
                sources=file_entries(
                    (file, file.name) for file in sorted(folder.iterdir())
                ),
            )
    return ModelOrigin(source="builtin", built_from=settings)


def make_builtin(settings: ModelSettings, folder: Path) -> None:
    """Write the built-in model."""
    from retune.models.builtin_model import build_model

    build_model(settings, folder)


def copy_folder(
    settings: ModelSettings,
    folder: Path,
    copy_file: Callable[[Path, Path], object] = shutil.copyfile,
) -> None:
    """Copy the files of a local model.

    Args:
        settings: The section `model`.
        folder: Folder to copy to.
        copy_file: Function that copies a file to a path.
    """
    source = user_path(settings.folder or "")
    if not source.is_dir():
        raise problem(settings, "is no folder")

    def copy(names: Sequence[str]) -> None:
        for name in names:
            copy_file(source / name, folder / name)

    names = {path.name for path in source.iterdir() if path.is_file()}
    gather(settings, names, copy, folder)


def download_model(settings: ModelSettings, folder: Path) -> None:
    """Download the files of a model on the hub."""
    repository = Repository.of(settings)
    files = list_files(repository)

    def copy(names: Sequence[str]) -> None:
        download_files(repository, [files[name] for name in names], folder)

    gather(settings, files.keys(), copy, folder)


def gather(
    settings: ModelSettings, names: Collection[str], copy: Copy, folder: Path
) -> None:
    """Copy the files that belong to the model.

    The small files are copied first and checked, before time goes into the large ones.

    Args:
        settings: The section `model`.
        names: Paths of the files at the source, relative to its root; what lies in
            folders there is in other formats.
        copy: Function that copies files from the root of the source.
        folder: Folder to copy to.

    Raises:
        RetuneError: If a file is missing or damaged, or the model cannot be trained.
    """
    check_names(settings, names)
    is_sharded = WEIGHTS not in names
    copy([name for name in (*CONFIGS, *TOKENIZER) if name in names])
    if INDEX in names and not is_sharded:
        copy([INDEX])
        check_index(settings, folder)
    config = read_object(settings, folder / "config.json")
    stop_at(settings, problems_of_config(config))
    model = read_skeleton(settings, folder)
    stop_at(settings, problems_of_family(model) or problems_of_packing(model.config))
    if not is_sharded:
        copy([WEIGHTS])
        return
    copy([INDEX])
    index = read_index(settings, folder)
    shards = sorted(set(index.values()))
    if missing := [name for name in shards if name not in names or "/" in name]:
        raise problem(settings, f"lacks {', '.join(missing)}, which {INDEX} names")
    stop_at(settings, problems_of_names(model, match_weights(model, index)))
    copy(shards)


def read_skeleton(settings: ModelSettings, folder: Path) -> PreTrainedModel:
    """Return the model of config.json without its weights.

    Raises:
        RetuneError: If Transformers does not know it as a causal language model.
    """
    try:
        return build_skeleton(folder)
    # The code of a model family may raise an exception of any kind.
    except Exception as error:
        log.info("transformers: %s", error)
        config = read_object(settings, folder / "config.json")
        if "auto_map" in config:
            raise problem(
                settings,
                "needs its own Python code (auto_map in config.json), which retune"
                " never runs: choose a model that transformers itself knows",
            ) from error
        quoted = " ".join(str(error).split())[:QUOTED_CHARACTERS]
        kind = config.get("model_type")
        if re.search(NO_CAUSAL_MODEL, quoted):
            raise problem(
                settings,
                "is no causal language model that transformers knows (model_type"
                f" {kind!r} in config.json): {quoted}",
            ) from error
        raise problem(
            settings,
            f"has a config.json that transformers makes no {kind} model of"
            f" ({type(error).__name__}): {quoted}",
        ) from error


def check_model(settings: ModelSettings, folder: Path) -> None:
    """Raise RetuneError unless the files hold the very model that will be trained."""
    groups, tensors = check_headers(settings, folder)
    stop_at(settings, problems_of_values(groups, tensors))


def check_headers(
    settings: ModelSettings, folder: Path
) -> tuple[Sequence[StoredWeights], dict[str, StoredTensor]]:
    """Check names, dtypes and shapes of all tensors; their values are not read.

    Args:
        settings: The section `model`.
        folder: Folder of the model.

    Returns:
        The tensors that are weights of the model, and every tensor by its name.

    Raises:
        RetuneError: If they are not those of the model that will be trained.
    """
    model = read_skeleton(settings, folder)
    tensors = list_stored_tensors(folder)
    found = match_weights(model, tensors)
    stop_at(
        settings,
        problems_of_names(model, found)
        + problems_of_tensors(model, found.groups, tensors),
    )
    return found.groups, tensors
