"""Step `fetch`: the base model as a Hugging Face folder.

Weights come as safetensors and never with code: nothing that arrives here can run.
"""

import json
import logging
import shutil
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError, safe_open
from transformers import AutoConfig, AutoModelForCausalLM

from retune.errors import RetuneError
from retune.publishing import published_folder, read_json, write_manifest
from retune.settings import ModelSettings
from retune.sources.hub import Repository, bring, list_files
from retune.sources.model_facts import find_model_facts

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
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
log = logging.getLogger(__name__)


def run(settings: ModelSettings, base: Path) -> str:
    """Publish the base model.

    Args:
        settings: The `model` section.
        base: Folder to publish: config.json, model.safetensors or its shards and
            index, the tokenizer's files, manifest.json.

    Returns:
        The model with its parameters and size, for people.

    Raises:
        RetuneError: If a file is missing or damaged, the model needs code of its
            own, or it is no causal language model.
    """
    make = {"builtin": make_builtin, "local": copy_folder, "hub": download_model}
    with published_folder(base) as stage:
        parameters = make[settings.source](settings, stage)
        check_weights(settings, stage)
        find_model_facts(stage).write(stage)
        write_manifest(stage, **origin_of(settings))
        size = sum(path.stat().st_size for path in stage.glob("*.safetensors"))
    title = title_of(settings)[1]
    return f"{title}: {parameters / 1e6:,.1f} M parameters, {size / 1e6:,.0f} MB"


def origin_of(settings: ModelSettings) -> dict[str, Any]:
    """Return the settings that decide the model's bytes."""
    match settings.source:
        case "hub":
            return settings.model_dump(include={"source", "name", "revision"})
        case "local":
            return {"source": "local", "path": settings.folder}
    return settings.model_dump(exclude_none=True)


def make_builtin(settings: ModelSettings, folder: Path) -> int:
    """Write the built-in model and return its number of parameters."""
    from retune.sources.builtin_model import build_model

    build_model(settings, folder)
    return count_parameters(settings, folder)


def copy_folder(settings: ModelSettings, folder: Path) -> int:
    """Copy a local model and return its number of parameters."""
    source = Path(settings.folder).expanduser()
    if not source.is_dir():
        raise problem(settings, "is no folder")

    def copy(names: Sequence[str]) -> None:
        for name in names:
            shutil.copyfile(source / name, folder / name)

    there = {path.name for path in source.iterdir() if path.is_file()}
    return gather(settings, there, copy, folder)


def download_model(settings: ModelSettings, folder: Path) -> int:
    """Bring a hub model and return its number of parameters."""
    repository = Repository("model", settings.name, settings.revision)
    files = list_files(repository)

    def copy(names: Sequence[str]) -> None:
        bring(repository, [files[name] for name in names], folder)

    return gather(settings, files.keys(), copy, folder)


def gather(
    settings: ModelSettings, there: Collection[str], copy: Copy, folder: Path
) -> int:
    """Copy what belongs to the model; the small files, once checked, go first.

    Args:
        settings: The `model` section.
        there: Paths at the source; those in its folders are other formats.
        copy: Brings files of the source's root.
        folder: Where they go.

    Returns:
        Number of parameters.
    """
    check_names(settings, there)
    is_sharded = WEIGHTS not in there
    copy([name for name in (*CONFIGS, *TOKENIZER) if name in there])
    refuse_code(settings, folder)
    parameters = count_parameters(settings, folder)
    if is_sharded:
        copy([INDEX])
    shards = sorted(set(read_index(settings, folder).values())) if is_sharded else []
    if missing := [name for name in shards if name not in there or "/" in name]:
        raise problem(settings, f"lacks {', '.join(missing)}, which {INDEX} names")
    copy(shards or [WEIGHTS])
    return parameters


def check_names(settings: ModelSettings, there: Collection[str]) -> None:
    """Raise unless config, weights and tokenizer are there, naming all that lack."""
    lacking = []
    if "config.json" not in there:
        lacking.append("config.json")
    if WEIGHTS not in there and INDEX not in there:
        pickles = sorted(
            name for name in there if name.endswith((".bin", ".pt", ".pth"))
        )
        instead = f" (pickles such as {pickles[0]} are never loaded)" if pickles else ""
        lacking.append(f"safetensors weights: {WEIGHTS} or {INDEX}{instead}")
    if not any(name in there for name in VOCABULARIES):
        lacking.append(f"a tokenizer: {' or '.join(VOCABULARIES)}")
    if lacking:
        raise problem(settings, f"lacks {'; '.join(lacking)}")


def refuse_code(settings: ModelSettings, folder: Path) -> None:
    """Raise if a config asks for Python code of the repository."""
    for name in CONFIGS:
        path = folder / name
        if path.exists() and "auto_map" in read_object(settings, path):
            raise problem(
                settings,
                f"needs its own Python code (auto_map in {name}), which retune never"
                " runs: choose a model that transformers itself knows",
            )


def count_parameters(settings: ModelSettings, folder: Path) -> int:
    """Return the number of parameters; tied ones count once, no memory is taken.

    Raises:
        RetuneError: If transformers does not know config.json as a causal language
            model.
    """
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError, StrictDataclassError) as error:
        log.info("transformers: %s", error)
        kind = read_object(settings, folder / "config.json").get("model_type")
        raise problem(
            settings,
            "is no causal language model that transformers knows (model_type"
            f" {kind!r} in config.json): {str(error).splitlines()[0]}",
        ) from error
    return model.num_parameters()


def check_weights(settings: ModelSettings, folder: Path) -> None:
    """Raise unless every safetensors file opens and holds what the index names."""
    held: set[str] = set()
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, framework="numpy") as file:
                held |= set(file.keys())
        except SafetensorError as error:
            raise problem(settings, f"has a damaged {path.name}: {error}") from error
    named = read_index(settings, folder) if (folder / INDEX).exists() else {}
    if missing := sorted(set(named) - held):
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
