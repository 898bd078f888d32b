"""The files of a base model: which must be there, and whether they are whole."""

import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from retune.artifacts.publishing import read_json
from retune.errors import RetuneError
from retune.settings import ModelSettings
from retune.sources.weight_file_formats import INDEX, WEIGHTS, find_pickles

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
# One of these must be there; the other files of a tokenizer only add to it.
VOCABULARIES = ("tokenizer.json", "tokenizer.model", "vocab.json")


def check_names(settings: ModelSettings, names: Collection[str]) -> None:
    """Raise RetuneError naming what is missing of config, weights and tokenizer.

    Args:
        settings: The section `model`.
        names: Names of the files at the source.
    """
    lacking = []
    if "config.json" not in names:
        lacking.append("config.json")
    if WEIGHTS not in names and INDEX not in names:
        pickles = find_pickles(names)
        instead = f" (pickles such as {pickles[0]} are never loaded)" if pickles else ""
        lacking.append(f"safetensors weights: {WEIGHTS} or {INDEX}{instead}")
    if not any(name in names for name in VOCABULARIES):
        lacking.append(f"a tokenizer: {' or '.join(VOCABULARIES)}")
    if lacking:
        raise problem(settings, f"lacks {'; '.join(lacking)}")


def check_index(settings: ModelSettings, folder: Path) -> None:
    """Raise RetuneError if an index beside the one file of weights names others."""
    named = sorted(set(read_index(settings, folder).values()))
    if named != [WEIGHTS]:
        raise problem(
            settings,
            f"holds {WEIGHTS} and, in {INDEX}, {', '.join(named)}: which of them is"
            " meant is not known; remove one or the other",
        )


def check_files(settings: ModelSettings, folder: Path) -> None:
    """Raise RetuneError unless every tensor of the index is in one sound file."""
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
    """Return the name of the shard that holds each tensor."""
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


def stop_at(settings: ModelSettings, problems: Sequence[str]) -> None:
    """Raise one RetuneError with all problems, if there are any."""
    if problems:
        raise RetuneError("\n".join(str(problem(settings, what)) for what in problems))


def problem(settings: ModelSettings, what: str) -> RetuneError:
    """Return the error about the model, which its setting and its title name.

    Args:
        settings: The section `model`.
        what: Predicate of the sentence, such as `lacks config.json`.
    """
    key, title = title_of(settings)
    return RetuneError(f"model.{key}: {title} {what}")


def title_of(settings: ModelSettings) -> tuple[str, str]:
    """Return the setting that names the model, and the model's title for people."""
    match settings.source:
        case "hub":
            return "name", f"{settings.name} at {(settings.revision or '')[:8]}"
        case "local":
            return "folder", str(settings.folder)
    return "source", "built-in GPT-2"
