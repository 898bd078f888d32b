"""The user's own files that a run reads: when they change, so does the run."""

from retune.errors import RetuneError
from retune.settings import Params
from retune.settings.user_paths import user_path
from retune.sources.local_model import problem_of_folder
from retune.sources.named_files import find_files


def find_local_sources(params: Params) -> dict[str, list[str]]:
    """Return the local files that the sections `dataset` and `model` name.

    Raises:
        RetuneError: If a file is missing or the folder holds no model. Better to stop
            here, when the workflow starts, than when the step runs.
    """
    return {"dataset": dataset_files(params), "model": model_files(params)}


def dataset_files(params: Params) -> list[str]:
    """Return the files of a local dataset; none if it is not local."""
    if params.dataset.source != "local":
        return []
    found = find_files(params.dataset)
    return [str(path) for files in found.splits.values() for path in files]


def model_files(params: Params) -> list[str]:
    """Return the files of a local model; none if it is not local."""
    if params.model.source != "local":
        return []
    folder = user_path(params.model.folder or "")
    if problem := problem_of_folder(folder):
        raise RetuneError(f"model.folder: {folder} {problem}")
    return sorted(str(path) for path in folder.iterdir() if path.is_file())
