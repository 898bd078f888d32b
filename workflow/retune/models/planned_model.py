"""The shape of the model that a training is planned for, before any step has run."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from retune.artifacts import model_facts
from retune.artifacts.model_facts import ModelFacts
from retune.artifacts.origins import ModelOrigin
from retune.errors import RetuneError
from retune.models.builtin_model import build_model
from retune.models.shape_facts import find_shape_facts
from retune.settings import ModelSettings
from retune.settings.user_paths import user_path
from retune.sources.hub_files import download_files, list_files
from retune.sources.hub_repository import Repository

CONFIG = "config.json"
# Characters that are quoted of a message of Transformers.
QUOTED_CHARACTERS = 300


@contextmanager
def planned_model(
    settings: ModelSettings, path: Path | None, fetched: Path
) -> Iterator[tuple[Path, ModelFacts]]:
    """Yield a folder with a model's config.json, and the facts that it tells.

    Args:
        settings: The section `model`.
        path: Folder of a model, or its config.json, to take instead; None: the model
            that the settings name. Of one on the hub nothing else is downloaded.
        fetched: Folder in which `fetch` may have made it already.

    Raises:
        RetuneError: If there is no config.json, or Transformers makes no causal
            language model of it.
    """
    if path is None and is_made_of(settings, fetched):
        yield fetched, ModelFacts.read(fetched)
        return
    with tempfile.TemporaryDirectory(prefix="retune-plan-") as name:
        folder = Path(name)
        if path is not None:
            copy_config(path, folder, "--model")
        elif settings.source == "local":
            copy_config(user_path(settings.folder or ""), folder, "model.folder")
        elif settings.source == "hub":
            download_config(settings, folder)
        else:
            build_model(settings, folder)
        try:
            facts = find_shape_facts(folder)
        except Exception as error:
            # Whatever Transformers raises of a config that it cannot use.
            said = str(error).partition("\n")[0][:QUOTED_CHARACTERS]
            raise RetuneError(
                f"{path or 'model'}: {CONFIG} is of no causal language model that"
                f" Transformers knows: {said}"
            ) from error
        yield folder, facts


def is_made_of(settings: ModelSettings, fetched: Path) -> bool:
    """Return whether `fetch` has made a folder of the model that the settings name."""
    try:
        origin = ModelOrigin.read(fetched)
    except (RetuneError, FileNotFoundError):
        return False
    if origin.source == "builtin":
        is_same = origin.built_from == settings
    else:
        mine = settings.name, settings.revision, settings.folder
        is_same = (origin.name, origin.revision, origin.path) == mine
    return is_same and (fetched / model_facts.FILE).exists()


def copy_config(path: Path, folder: Path, option: str) -> None:
    """Copy a config.json.

    Args:
        path: The file, or a folder that holds it.
        folder: Folder to copy it to.
        option: What names the path, for messages.

    Raises:
        RetuneError: If there is none.
    """
    source = path / CONFIG if path.is_dir() else path
    if not source.is_file():
        raise RetuneError(f"{option}: {source}: there is no such file")
    shutil.copyfile(source, folder / CONFIG)


def download_config(settings: ModelSettings, folder: Path) -> None:
    """Download the config.json of a model on the hub.

    Raises:
        RetuneError: If it cannot be had; `--model` takes one that is here.
    """
    repository = Repository.of(settings)
    try:
        files = list_files(repository)
        if CONFIG not in files:
            raise repository.problem("name", f"{repository} has no {CONFIG}")
        download_files(repository, [files[CONFIG]], folder)
    except RetuneError as error:
        raise RetuneError(
            f"{error}\nplan needs nothing but its {CONFIG}: --model PATH takes one"
        ) from error
