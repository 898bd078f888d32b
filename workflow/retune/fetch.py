"""Step `fetch`: the base model as a Hugging Face folder.

Weights come as safetensors and never with code: nothing that arrives here can run.
"""

import json
import logging
import re
import shutil
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from transformers import PreTrainedModel

from retune.errors import RetuneError
from retune.models.base_model_checks import (
    problems_of_config,
    problems_of_family,
    problems_of_names,
    problems_of_tensors,
    problems_of_values,
)
from retune.models.find_weights import find_weights
from retune.models.packing_check import problems_of_packing
from retune.models.safetensors_headers import read_headers
from retune.models.skeleton import build_skeleton
from retune.publishing import file_entries, published_folder, read_json, write_manifest
from retune.quantities import parameters, size
from retune.settings import ModelSettings
from retune.sources.hub import Repository, bring, list_files
from retune.sources.model_facts import find_model_facts
from retune.sources.user_paths import user_path
from retune.sources.weight_files import INDEX, WEIGHTS, find_pickles

CONFIGS = ("config.json", "generation_config.json", "tokenizer_config.json")
TOKENIZER = (
    "tokenizer.json",
    "tokenizer.model",
    "vocab.json",
    "merges.txt",
    "added_tokens.json",
    "special_tokens_map.json",
    "chat_template.jinja",
)
# One of these must be there; the other tokenizer files only add to them.
VOCABULARIES = ("tokenizer.json", "tokenizer.model", "vocab.json")
Copy = Callable[[Sequence[str]], None]
# What transformers says of a config.json that is of no family, or of another kind.
NO_CAUSAL_MODEL = "Unrecognized|does not recognize"
MOST_SAID = 300
log = logging.getLogger(__name__)


def run(settings: ModelSettings, base: Path) -> str:
    """Publish the base model.

    Args:
        settings: The `model` section.
        base: Folder to publish: config.json, model.safetensors or its shards and
            index, the tokenizer's files, model_facts.json, manifest.json (models/base).

    Returns:
        The model with its parameters and size, for people.

    Raises:
        RetuneError: If a file is missing or damaged, the model needs code of its
            own, it is no causal language model, or what would be trained is another
            model than its files hold.
    """
    make = {"builtin": make_builtin, "local": copy_folder, "hub": download_model}
    with published_folder(base) as stage:
        make[settings.source](settings, stage)
        origin = origin_of(settings, stage)
        check_files(settings, stage)
        check_model(settings, stage)
        facts = find_model_facts(stage, settings.split_special_tokens)
        facts.write(stage)
        write_manifest(stage, **origin)
        num_bytes = sum(path.stat().st_size for path in stage.glob("*.safetensors"))
    title, count = title_of(settings)[1], parameters(facts.num_parameters)
    return f"{title}: {count}, {size(num_bytes)}"


def origin_of(settings: ModelSettings, folder: Path) -> dict[str, Any]:
    """Return the settings that decide the model's bytes.

    Args:
        settings: The `model` section.
        folder: The model's files as they came: of a local one they are recorded, since
            a tokenizer in an older format will be written anew.
    """
    match settings.source:
        case "hub":
            return settings.model_dump(include={"source", "name", "revision"})
        case "local":
            files = sorted(folder.iterdir())
            return {
                "source": "local",
                "path": settings.folder,
                "sources": file_entries(files, folder),
            }
    return settings.model_dump(exclude_none=True)


def make_builtin(settings: ModelSettings, folder: Path) -> None:
    """Write the built-in model."""
    from retune.sources.builtin_model import build_model

    build_model(settings, folder)


def copy_folder(settings: ModelSettings, folder: Path) -> None:
    """Copy a local model."""
    source = user_path(settings.folder)
    if not source.is_dir():
        raise problem(settings, "is no folder")

    def copy(names: Sequence[str]) -> None:
        for name in names:
            shutil.copyfile(source / name, folder / name)

    there = {path.name for path in source.iterdir() if path.is_file()}
    gather(settings, there, copy, folder)


def download_model(settings: ModelSettings, folder: Path) -> None:
    """Bring a hub model."""
    repository = Repository("model", settings.name, settings.revision)
    files = list_files(repository)

    def copy(names: Sequence[str]) -> None:
        bring(repository, [files[name] for name in names], folder)

    gather(settings, files.keys(), copy, folder)


def gather(
    settings: ModelSettings, there: Collection[str], copy: Copy, folder: Path
) -> None:
    """Copy what belongs to the model; the small files, once checked, go first.

    Args:
        settings: The `model` section.
        there: Paths at the source; those in its folders are other formats.
        copy: Brings files of the source's root.
        folder: Where they go.
    """
    check_names(settings, there)
    is_sharded = WEIGHTS not in there
    copy([name for name in (*CONFIGS, *TOKENIZER) if name in there])
    if INDEX in there and not is_sharded:
        check_index(settings, copy, folder)
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
    if missing := [name for name in shards if name not in there or "/" in name]:
        raise problem(settings, f"lacks {', '.join(missing)}, which {INDEX} names")
    stop_at(settings, problems_of_names(model, find_weights(model, index)))
    copy(shards)


def check_names(settings: ModelSettings, there: Collection[str]) -> None:
    """Raise unless config, weights and tokenizer are there, naming all that lack."""
    lacking = []
    if "config.json" not in there:
        lacking.append("config.json")
    if WEIGHTS not in there and INDEX not in there:
        pickles = find_pickles(there)
        instead = f" (pickles such as {pickles[0]} are never loaded)" if pickles else ""
        lacking.append(f"safetensors weights: {WEIGHTS} or {INDEX}{instead}")
    if not any(name in there for name in VOCABULARIES):
        lacking.append(f"a tokenizer: {' or '.join(VOCABULARIES)}")
    if lacking:
        raise problem(settings, f"lacks {'; '.join(lacking)}")


def check_index(settings: ModelSettings, copy: Copy, folder: Path) -> None:
    """Raise RetuneError if an index beside the one file of weights names others."""
    copy([INDEX])
    named = sorted(set(read_index(settings, folder).values()))
    if named != [WEIGHTS]:
        raise problem(
            settings,
            f"holds {WEIGHTS} and, in {INDEX}, {', '.join(named)}: which of them is"
            " meant is not known; remove one or the other",
        )


def read_skeleton(settings: ModelSettings, folder: Path) -> PreTrainedModel:
    """Return the model of config.json without its weights.

    Raises:
        RetuneError: If transformers does not know it as a causal language model.
    """
    try:
        return build_skeleton(folder)
    except Exception as error:  # of whatever kind a family's own code raises
        log.info("transformers: %s", error)
        config = read_object(settings, folder / "config.json")
        if "auto_map" in config:
            raise problem(
                settings,
                "needs its own Python code (auto_map in config.json), which retune"
                " never runs: choose a model that transformers itself knows",
            ) from error
        said = " ".join(str(error).split())[:MOST_SAID]
        kind = config.get("model_type")
        if re.search(NO_CAUSAL_MODEL, said):
            raise problem(
                settings,
                "is no causal language model that transformers knows (model_type"
                f" {kind!r} in config.json): {said}",
            ) from error
        raise problem(
            settings,
            f"has a config.json that transformers makes no {kind} model of"
            f" ({type(error).__name__}): {said}",
        ) from error


def check_model(settings: ModelSettings, folder: Path) -> None:
    """Raise RetuneError unless the files hold the very model that will be trained."""
    model = read_skeleton(settings, folder)
    tensors = read_headers(folder)
    found = find_weights(model, tensors)
    stop_at(
        settings,
        problems_of_names(model, found)
        + problems_of_tensors(model, found.groups, tensors),
    )
    stop_at(settings, problems_of_values(found.groups, tensors))


def stop_at(settings: ModelSettings, problems: Sequence[str]) -> None:
    """Raise the RetuneError of all problems, if there are any."""
    if problems:
        raise RetuneError("\n".join(str(problem(settings, what)) for what in problems))


def check_files(settings: ModelSettings, folder: Path) -> None:
    """Raise unless every safetensors file opens and holds what the index names."""
    held: dict[str, str] = {}
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, framework="numpy") as file:
                names = set(file.keys())
        except SafetensorError as error:
            raise problem(settings, f"has a damaged {path.name}: {error}") from error
        if twice := sorted(names & held.keys()):
            raise problem(
                settings,
                f"holds {twice[0]} in {held[twice[0]]} and in {path.name}, and which of"
                " them is meant is not known; remove one",
            )
        held |= dict.fromkeys(names, path.name)
    named = read_index(settings, folder) if (folder / INDEX).exists() else {}
    if missing := sorted(set(named) - held.keys()):
        raise problem(
            settings,
            f"lacks {len(missing)} of the tensors in {INDEX}, such as {missing[0]}",
        )


def read_index(settings: ModelSettings, folder: Path) -> dict[str, str]:
    """Return the shard of each tensor."""
    weight_map = read_object(settings, folder / INDEX).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise problem(settings, f"has no weight_map in {INDEX}")
    return weight_map


def read_object(settings: ModelSettings, path: Path) -> dict[str, Any]:
    """Return what a JSON file of the model holds."""
    try:
        value = read_json(path)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise problem(settings, f"has a damaged {path.name}: {error}") from error
    if not isinstance(value, dict):
        raise problem(settings, f"has a {path.name} that is no JSON object")
    return value


def problem(settings: ModelSettings, what: str) -> RetuneError:
    """Return the error that the model, named by its setting, is or has `what`."""
    key, title = title_of(settings)
    return RetuneError(f"model.{key}: {title} {what}")


def title_of(settings: ModelSettings) -> tuple[str, str]:
    """Return the setting that chooses the model, and its name for people."""
    match settings.source:
        case "hub":
            return "name", f"{settings.name} at {settings.revision[:8]}"
        case "local":
            return "folder", str(settings.folder)
    return "source", "built-in GPT-2"
