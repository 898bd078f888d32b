"""The user's paths as a card may show them: it says nothing of a machine."""

from pathlib import PurePath

from retune.settings import Params


def public_name(path: str) -> str:
    """Return a path within the project as it is, and the last name of any other."""
    parts = PurePath(path).parts
    is_outside = PurePath(path).is_absolute() or ".." in parts or path.startswith("~")
    return PurePath(path).name if is_outside else path


def public_settings(settings: Params) -> Params:
    """Return the settings with the public name of each path in them."""
    files = {
        split: [public_name(file) for file in named]
        for split, named in (settings.dataset.files or {}).items()
    }
    folder, nvme_path = settings.model.folder, settings.hardware.nvme_path
    return settings.model_copy(
        update={
            "dataset": settings.dataset.model_copy(update={"files": files or None}),
            "model": settings.model.model_copy(
                update={"folder": folder and public_name(folder)}
            ),
            "hardware": settings.hardware.model_copy(
                update={"nvme_path": nvme_path and public_name(nvme_path)}
            ),
        }
    )
