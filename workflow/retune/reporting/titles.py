"""Names of a run's model and dataset, for people."""

from retune.reporting.public_settings import public_name
from retune.reporting.run_results import RunResults
from retune.settings import DatasetSettings, ModelSettings, SourceSettings
from retune.settings.model import CHAT_TEMPLATES


def title_of_dataset(dataset: DatasetSettings) -> str:
    """Return the dataset's name for people."""
    if dataset.sources:
        return ", ".join(dataset.sources)
    return title_of_source(dataset)


def title_of_source(dataset: SourceSettings) -> str:
    """Return the name of one source for people."""
    if dataset.name is not None:
        return dataset.name + (f" ({dataset.subset})" if dataset.subset else "")
    if dataset.source == "builtin" and dataset.format == "messages":
        return "questions about Python's standard library"
    if dataset.source == "builtin":
        return "Python's own documentation"
    return "local files"


def title_of_base(model: ModelSettings) -> str:
    """Return the base model's name for people."""
    if model.folder is not None:
        return model.folder.rstrip("/").rpartition("/")[2]
    return model.name or "a tiny GPT-2 with random weights"


def title_of_chat_template(model: ModelSettings) -> str:
    """Return where the chat template comes from, for people."""
    if model.chat_template == "auto":
        return "the base model's own"
    if model.chat_template in CHAT_TEMPLATES:
        return f"{model.chat_template}, which is built in"
    return public_name(model.chat_template)


def title_of(run: RunResults) -> str:
    """Return the tuned model's name for people."""
    model, dataset = run.settings.model, title_of_dataset(run.settings.dataset)
    if model.source == "builtin":
        return f"A tiny GPT-2 trained on {dataset}"
    return f"{title_of_base(model)} fine-tuned on {dataset}"
