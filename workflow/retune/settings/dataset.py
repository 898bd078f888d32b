"""The section `dataset`: where the text comes from."""

import re
from typing import Any, Literal, get_args

from pydantic import Field, model_validator

from retune.settings.hub import Commit, HubName, check_hub_reference
from retune.settings.section import Settings

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
# The splits that are scored, and not trained on.
HELD_OUT: tuple[Split, ...] = ("validation", "test")

TEXT_FORMATS = (".jsonl", ".parquet", ".csv", ".txt")

# Short names for params.yaml, each pinned to one commit of the hub.
DATASET_PRESETS: dict[str, dict[str, Any]] = {
    "builtin": {"source": "builtin"},
    "wikitext": {
        "source": "hub",
        "name": "Salesforce/wikitext",
        "revision": "b08601e04326c79dfdd32d625aee71d232d685c3",
        "subset": "wikitext-2-raw-v1",
        "document_start": r"^ = [^=].* = \n?$",
    },
}


class DatasetSettings(Settings):
    """Where the text comes from.

    A short name (`builtin`, `wikitext`) or a file (`my.jsonl`) may stand for the whole
    section.
    """

    source: Literal["builtin", "hub", "local"] = Field(
        description="`builtin`: Python's own documentation; `hub`: a Hugging Face"
        " dataset; `local`: files on this machine."
    )
    name: HubName | None = Field(None, description="Name on the hub, `owner/dataset`.")
    revision: Commit | None = Field(
        None, description="Commit of the hub dataset, 40 hex digits."
    )
    subset: str | None = Field(
        None,
        description="Configuration of the hub dataset, such as `wikitext-2-raw-v1`.",
    )
    files: dict[Split, list[str]] | None = Field(
        None,
        description="Local files of each split (`jsonl`, `parquet`, `csv`, `txt`): a"
        " file of that very name, else a glob. With `train` alone, `prepare` splits"
        " it.",
    )
    text_column: str = Field("text", description="Column that holds the text.")
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
        if not isinstance(value, str):
            return value
        if value in DATASET_PRESETS:
            return DATASET_PRESETS[value]
        if value.endswith(TEXT_FORMATS):
            return {"source": "local", "files": {"train": [value]}}
        raise ValueError(
            f"{value!r} is no known short name: write one of"
            f" {', '.join(sorted(DATASET_PRESETS))}, a file ending in"
            f" {', '.join(TEXT_FORMATS)}, or source: hub with name and revision"
        )

    @model_validator(mode="after")
    def _check_source(self) -> "DatasetSettings":
        check_hub_reference(self.source, self.name, self.revision, "datasets/")
        if self.source == "local" and not (self.files or {}).get("train"):
            raise ValueError("source: local needs files, with at least train: [FILE]")
        if self.source != "local" and self.files:
            raise ValueError(f"files go with source: local, not source: {self.source}")
        if self.document_start:
            try:
                re.compile(self.document_start)
            except re.error as error:
                raise ValueError(
                    f"document_start: {self.document_start!r} is no regular expression:"
                    f" {error}"
                ) from None
        if self.source != "hub" and self.subset:
            raise ValueError(f"subset goes with source: hub, not source: {self.source}")
        return self
