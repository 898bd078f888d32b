"""The settings as a card may show them: their paths say nothing of a machine."""

from pathlib import PurePath

import yaml

from retune.settings import RunSettings, SourceSettings, Split


def public_name(path: str) -> str:
    """Return a path within the project as it is, and the last name of any other."""
    names = PurePath(path).parts
    is_outside = PurePath(path).is_absolute() or ".." in names or path.startswith("~")
    return PurePath(path).name if is_outside else path


def public_files(source: SourceSettings) -> dict[Split, list[str]] | None:
    """Return the public names of a source's files; None if it has none."""
    files = {
        split: [public_name(file) for file in named]
        for split, named in (source.files or {}).items()
    }
    return files or None


def public_settings(settings: RunSettings) -> RunSettings:
    """Return the settings with the public name of each path in them."""
    dataset, folder = settings.dataset, settings.model.folder
    config = settings.configure.deepspeed_config
    sources = {
        name: source.model_copy(update={"files": public_files(source)})
        for name, source in dataset.sources.items()
    }
    return settings.model_copy(
        update={
            "dataset": dataset.model_copy(
                update={"files": public_files(dataset), "sources": sources}
            ),
            "model": settings.model.model_copy(
                update={
                    "folder": folder and public_name(folder),
                    "chat_template": public_name(settings.model.chat_template),
                }
            ),
            "configure": settings.configure.model_copy(
                update={"deepspeed_config": config and public_name(config)}
            ),
        }
    )


def settings_text(settings: RunSettings) -> str:
    """Return all settings of a run as they would stand in params.yaml.

    Paths outside the project are shown by their last names.
    """
    return yaml.safe_dump(
        public_settings(settings).decisive(),
        sort_keys=False,
        allow_unicode=True,
        width=88,
    )
