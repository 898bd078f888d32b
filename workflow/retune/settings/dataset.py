"""The section `dataset`: where the texts or examples come from, and what a row is."""

import re
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BeforeValidator, Field, model_validator

from retune.settings.hub import Commit, HubName, check_hub_reference
from retune.settings.section import Auto, Settings, default_of
from retune.settings.text_formats import TEXT_FORMATS, format_of
from retune.settings.user_paths import is_path

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
# The splits that a model is evaluated on.
HELD_OUT: tuple[Split, ...] = ("validation", "test")

# What a row of a dataset may be, and the names of the values that it then holds. A
# dataset has these columns, or `columns` says which of its own stand for them.
FORMATS: dict[str, tuple[str, ...]] = {
    "text": ("text",),
    "instruction": ("instruction", "input", "output", "system"),
    "completion": ("prompt", "completion"),
    "messages": ("messages", "tools", "system"),
}
Format = Literal["text", "instruction", "completion", "messages"]
# Keys that go with texts alone, and those that go with conversations alone.
FOR_TEXTS = ("text_column", "txt_documents", "document_start")
FOR_CONVERSATIONS = ("trained_turns", "fold_system", "reasoning")
# Keys that say what the rows of a user's files are.
OF_ROWS = ("format", "columns", *FOR_CONVERSATIONS)
# What the name of a source is: documents are named `NAME/...` after it.
SOURCE_NAME = r"[A-Za-z0-9_-]+"

# Short names for params.yaml, each pinned to one commit of the hub.
DATASET_PRESETS: dict[str, dict[str, str]] = {
    "builtin": {"source": "builtin"},
    "builtin-chat": {"source": "builtin", "format": "messages"},
    "wikitext": {
        "source": "hub",
        "name": "Salesforce/wikitext",
        "revision": "b08601e04326c79dfdd32d625aee71d232d685c3",
        "subset": "wikitext-2-raw-v1",
        "document_start": r"^ = [^=].* = \n?$",
    },
}


def split_files(value: Any) -> Any:
    """Return the list of files of each split from one of the shorter forms of it."""
    if isinstance(value, str | list):
        value = {"train": value}
    if not isinstance(value, dict):
        raise ValueError(
            f"{value!r} should be a file, a folder, a glob, a list of these, or one of"
            f" all that for each of {', '.join(SPLITS)}"
        )
    return {
        split: [files] if isinstance(files, str) else files
        for split, files in value.items()
    }


FilesBySplit = Annotated[
    dict[Split, list[str]],
    BeforeValidator(
        split_files,
        json_schema_input_type=str | list[str] | dict[Split, str | list[str]],
    ),
]


class SourceSettings(Settings):
    """One source of texts or examples, and what its rows are."""

    source: Literal["builtin", "hub", "local", "several"] = Field(
        description="`builtin`: Python's own documentation, or with `format: messages`"
        " questions made of it; `hub`: a Hugging Face"
        " dataset; `local`: files on this machine; `several`: those of `sources`."
    )
    name: HubName | None = Field(None, description="Name on the hub, `owner/dataset`.")
    revision: Commit | None = Field(
        None, description="Commit of the hub dataset, 40 hex digits."
    )
    subset: str | None = Field(
        None,
        description="Configuration of the hub dataset, such as `wikitext-2-raw-v1`.",
    )
    files: FilesBySplit | None = Field(
        None,
        description="Local files of each split (`jsonl`, `json`, `parquet`, `csv`,"
        " `tsv`, `txt`, also compressed: `gz`, `zst`, `bz2`, `xz`): a file of that very"
        " name, a folder with all that is below it, else a glob; or a list of these."
        " With `train` alone, `prepare` splits it.",
    )
    txt_documents: Literal["file", "line"] = Field(
        "file",
        description="What is a document in a local `txt` file: the whole `file`, or"
        " each `line`. With `document_start` its lines are joined instead.",
    )
    format: Format | Auto = Field(
        "auto",
        description="What a row is. `text`: a text; `instruction`: an instruction,"
        " perhaps with an input, and its output; `completion`: a prompt and its"
        " completion, as texts or as messages; `messages`: the messages of a"
        " conversation, as OpenAI or ShareGPT write them. `auto`: recognized by the"
        " names of the columns.",
    )
    text_column: str = Field(
        "text", description="Column that holds the text, for `format: text`."
    )
    columns: dict[str, str] = Field(
        {},
        description="Columns of the other formats that have names of their own, such"
        " as `{instruction: question, output: answer}`. Keys: `instruction`, `input`,"
        " `output`; `prompt`, `completion`; `messages`, `tools`; `system`.",
    )
    trained_turns: Literal["all", "last"] = Field(
        "all",
        description="Which of the assistant's turns are trained: `all` of them, or the"
        " `last` one. A message's own `train: false` or `weight: 0` is honoured.",
    )
    fold_system: bool = Field(
        False,
        description="Put the system's message before the first user's, for models whose"
        " chat template takes none.",
    )
    reasoning: Literal["keep", "drop"] = Field(
        "keep",
        description="What the assistant thinks before it answers, in"
        " `reasoning_content` or `<think>`: `keep` it, for models whose chat template"
        " shows it, or `drop` it.",
    )
    group_column: str | None = Field(
        None,
        description="Column whose equal values stay in one split (author, page,"
        " package). Without one, each document is its own group.",
    )
    document_start: str | None = Field(
        None,
        description="Regular expression: a row that matches starts a document and the"
        " rows up to the next match are joined to it. Without one, each row is a"
        " document.",
    )

    @model_validator(mode="before")
    @classmethod
    def _expand_short_form(cls, value: Any) -> Any:
        if isinstance(value, list):
            return {"source": "local", "files": value}
        if isinstance(value, dict) and "files" in value and "source" not in value:
            return {"source": "local", **value}
        if not isinstance(value, str):
            return value
        if value in DATASET_PRESETS:
            return DATASET_PRESETS[value]
        if format_of(value) or is_path(value):
            return {"source": "local", "files": value}
        raise ValueError(
            f"{value!r} is no known short name, and no folder that is there: write one"
            f" of {', '.join(sorted(DATASET_PRESETS))}, a file ending in"
            f" {', '.join(TEXT_FORMATS)}, or source: hub with name and revision"
        )

    @model_validator(mode="after")
    def _check_source(self) -> Self:
        check_source(self)
        return self


def named_sources(value: Any) -> Any:
    """Return the sources by name, if that is what they are."""
    if not isinstance(value, dict):
        raise ValueError(
            f"{value!r} should be a mapping from the name of each source to a dataset"
        )
    for name in value:
        if not re.fullmatch(SOURCE_NAME, str(name)):
            raise ValueError(
                f"{name!r} should be a name of letters, digits, - and _ alone"
            )
    return {str(name): source for name, source in value.items()}


Sources = Annotated[dict[str, SourceSettings], BeforeValidator(named_sources)]


class DatasetSettings(SourceSettings):
    """Where the texts or examples come from, and what a row is.

    A short name (`builtin`, `builtin-chat`, `wikitext`), a file (`my.jsonl`), a folder
    (`texts/`), a glob (`texts/*.txt`) or a list of these may stand for the whole
    section, and where there are `files` they are local without `source`. With
    `sources` the section has no other key.
    """

    sources: Sources = Field(
        {},
        description="Several datasets, each under a name of its own (letters, digits,"
        " `-`, `_`) and with the keys above, or a short name: `{python: builtin-chat,"
        " mine: my.jsonl}`. All hold texts, or all examples. `finetune.mix` says how"
        " often each is read.",
    )

    @model_validator(mode="before")
    @classmethod
    def _expand_sources(cls, value: Any) -> Any:
        if isinstance(value, dict) and "sources" in value and "source" not in value:
            return {"source": "several", **value}
        return value

    @model_validator(mode="after")
    def _check_source(self) -> Self:
        if self.source != "several" and not self.sources:
            check_source(self)
            return self
        if not self.sources:
            raise ValueError("source: several needs sources, a dataset under each name")
        for key in type(self).model_fields:
            is_given = getattr(self, key) != default_of(self, key)
            if is_given and key not in ("source", "sources"):
                raise ValueError(
                    f"{key} does not go with sources: write it in the sources that it"
                    f" is for, as in sources.{next(iter(self.sources))}.{key}"
                )
        if self.source != "several":
            raise ValueError(f"sources go without source: {self.source}")
        return self


def check_source(settings: SourceSettings) -> None:
    """Raise ValueError if keys of one source do not go together."""
    source = settings.source
    if source == "several":
        raise ValueError("source: several is for the section dataset alone")
    check_hub_reference(source, settings.name, settings.revision, "datasets/")
    if source == "local" and not (settings.files or {}).get("train"):
        raise ValueError("source: local needs files, with at least train: [FILE]")
    if source != "local" and settings.files:
        raise ValueError(f"files go with source: local, not source: {source}")
    if source != "local" and settings.txt_documents != default_of(
        settings, "txt_documents"
    ):
        raise ValueError(
            f"txt_documents goes with source: local, not source: {source}:"
            " there each line of a txt file is a document"
        )
    if settings.document_start:
        try:
            re.compile(settings.document_start)
        except re.error as error:
            raise ValueError(
                f"document_start: {settings.document_start!r} is no regular"
                f" expression: {error}"
            ) from None
    check_format(settings)
    if source != "hub" and settings.subset:
        raise ValueError(f"subset goes with source: hub, not source: {source}")


def check_format(settings: SourceSettings) -> None:
    """Raise ValueError for settings that do not go with the format of the rows."""
    check_column_keys(settings)
    given = {
        key
        for key in (*FOR_TEXTS, *FOR_CONVERSATIONS, "columns", "format")
        if getattr(settings, key) != default_of(settings, key)
    }
    if settings.format == "text":
        given.discard("format")
    is_chat = settings.source == "builtin" and settings.format == "messages"
    wrong_builtin = ("columns",) if is_chat else OF_ROWS
    if settings.source == "builtin" and (wrong := first_in(given, *wrong_builtin)):
        raise ValueError(
            f"{wrong} does not go with source: builtin, which holds texts, or"
            " conversations with format: messages"
        )
    if settings.format == "text" and (wrong := first_in(given, *FOR_CONVERSATIONS)):
        raise ValueError(f"{wrong} does not go with format: text")
    if settings.format not in ("auto", "text") or settings.columns:
        chosen = (
            "columns" if settings.format == "auto" else f"format: {settings.format}"
        )
        if wrong := first_in(given, *FOR_TEXTS):
            raise ValueError(f"{wrong} goes with format: text, not with {chosen}")


def check_column_keys(settings: SourceSettings) -> None:
    """Raise ValueError unless the keys of `columns` are those of one format."""
    if not settings.columns:
        return
    if settings.format == "text":
        raise ValueError("columns do not go with format: text, but text_column does")
    others = {name: keys for name, keys in FORMATS.items() if name != "text"}
    if settings.format != "auto":
        others = {settings.format: others[settings.format]}
    known = list(dict.fromkeys(key for keys in others.values() for key in keys))
    of_format = "" if settings.format == "auto" else f" of format: {settings.format}"
    for key in settings.columns:
        if key not in known:
            text = "; text_column names that of texts" if key == "text" else ""
            raise ValueError(
                f"columns.{key}: unknown key{of_format}; there are:"
                f" {', '.join(known)}{text}"
            )
    if not any({*settings.columns} <= {*keys} for keys in others.values()):
        raise ValueError(
            f"columns: {', '.join(settings.columns)} belong to more than one format;"
            " each has its own: "
            + ", ".join(f"{name} ({', '.join(keys)})" for name, keys in others.items())
        )


def first_in(given: set[str], *keys: str) -> str | None:
    """Return the first of some keys that is given."""
    return next((key for key in keys if key in given), None)
