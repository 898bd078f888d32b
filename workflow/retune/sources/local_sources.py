"""The user's own files that a run reads: when they change, so does the run."""

from retune.errors import RetuneError
from retune.planning.given_plan import check_given
from retune.settings import DatasetSettings, ModelSettings, Params, SourceSettings
from retune.settings.model import CHAT_TEMPLATES
from retune.settings.user_paths import user_path
from retune.sources.errors_of_source import errors_of_source
from retune.sources.local_model import problem_of_folder
from retune.sources.named_files import find_files


def find_local_sources(params: Params) -> dict[str, list[str]]:
    """Return the local files that `dataset`, `model` and `configure` name, by section.

    Raises:
        RetuneError: If a file is missing, the folder holds no model or the DeepSpeed
            config is wrong. Better to stop here, when the workflow starts, than when
            the step runs.
    """
    return {
        "dataset": dataset_files(params.dataset),
        "model": model_files(params.model),
        "configure": configure_files(params),
    }


def dataset_files(dataset: DatasetSettings) -> list[str]:
    """Return the files of a local dataset, or of all local sources of a dataset."""
    files = files_of(dataset)
    for name, source in dataset.sources.items():
        with errors_of_source(name):
            files += files_of(source)
    return list(dict.fromkeys(files))


def files_of(source: SourceSettings) -> list[str]:
    """Return the files of a source; none if it is not local."""
    if source.source != "local":
        return []
    found = find_files(source)
    return [str(path) for files in found.splits.values() for path in files]


def model_files(model: ModelSettings) -> list[str]:
    """Return the files of a local model, and that of the user's chat template."""
    files = chat_template_files(model)
    if model.source != "local":
        return files
    folder = user_path(model.folder or "")
    if problem := problem_of_folder(folder):
        raise RetuneError(f"model.folder: {folder} {problem}")
    return sorted(str(path) for path in folder.iterdir() if path.is_file()) + files


def chat_template_files(model: ModelSettings) -> list[str]:
    """Return the file of the user's chat template; none if it is not the user's."""
    wanted = model.chat_template
    if wanted == "auto" or wanted in CHAT_TEMPLATES:
        return []
    file = user_path(wanted)
    if not file.is_file():
        raise RetuneError(
            f"model.chat_template: there is no file {wanted}; write auto, a file, or"
            f" one of {', '.join(CHAT_TEMPLATES)}"
        )
    return [str(file)]


def configure_files(params: Params) -> list[str]:
    """Return the file of the user's DeepSpeed config; none if there is none."""
    check_given(params)
    file = params.configure.deepspeed_config
    return [str(user_path(file))] if file else []
