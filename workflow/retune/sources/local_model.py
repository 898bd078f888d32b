"""Why a folder of the user's cannot be the base model, by the names of its files."""

import json
from pathlib import Path
from shlex import quote

from retune.sources.weight_file_formats import (
    INDEX,
    WEIGHTS,
    find_other_formats,
    find_pickles,
    find_shards,
)

# Python that writes the weights of pickles into one safetensors file.
CONVERT = (
    "import glob, torch; from safetensors.torch import save_file; save_file({name:"
    " tensor.clone() for file in glob.glob('pytorch_model*.bin') for name, tensor in"
    " torch.load(file, 'cpu', weights_only=True).items()}, 'model.safetensors',"
    " {'format': 'pt'})"
)


def problem_of_folder(folder: Path) -> str | None:
    """Return why a folder cannot be the base model, by the names of its files.

    Returns:
        None if nothing speaks against it; the step `fetch` then reads the files.
    """
    try:
        if not folder.is_dir():
            return "is a file, and not a folder" if folder.exists() else "is not there"
        names = sorted(path.name for path in folder.iterdir())
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    if WEIGHTS in names or INDEX in names:
        return None if "config.json" in names else "lacks config.json"
    if shards := find_shards(names):
        return (
            f"holds {shards[0]} and no {INDEX}, which says what is in which of its"
            " files: copy it from where these come from"
        )
    if "adapter_config.json" in names:
        return problem_of_adapter(folder / "adapter_config.json")
    if ggufs := [name for name in names if name.lower().endswith(".gguf")]:
        return (
            f"holds {ggufs[0]}, and GGUF is a format for running models: take the model"
            " that it was made from, as safetensors"
        )
    if "config.json" not in names:
        return "is no model folder: it has no config.json"
    if pickles := find_pickles(names):
        return problem_of_pickles(folder, pickles)
    others = find_other_formats(names)
    instead = f", but {others[0]}, which is not read" if others else ""
    return f"holds no weights: neither {WEIGHTS} nor {INDEX}{instead}"


def problem_of_adapter(config: Path) -> str:
    """Return why a folder that holds only an adapter is no model, and the remedy.

    Args:
        config: File adapter_config.json of the folder, which may name the base model.
    """
    try:
        base = json.loads(config.read_text())["base_model_name_or_path"]
    except (OSError, ValueError, KeyError, TypeError):
        base = None
    owner = f" of {base}" if base else ""
    return (
        f"holds only an adapter{owner} (adapter_config.json), and no model: name the"
        " model itself, or merge the two first (merge_and_unload of peft)"
    )


def problem_of_pickles(folder: Path, pickles: list[str]) -> str:
    """Return why a folder of pickled weights cannot be read, and the remedy."""
    own = [name for name in pickles if name.startswith("pytorch_model")]
    if not own:
        return (
            f"holds its weights in {pickles[0]}, a pickle, which is never loaded: save"
            " the model with save_pretrained of Transformers, which writes safetensors"
        )
    return (
        f"holds its weights in {own[0]}, a pickle, which is never loaded; this writes"
        f" model.safetensors beside it:\n"
        f'  (cd {quote(str(folder))} && python -c "{CONVERT}")'
    )
