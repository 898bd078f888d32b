"""The section `model`: the base model."""

from typing import Any, Literal

from pydantic import Field, model_validator

from retune.settings.hub import Commit, HubName, check_hub_reference
from retune.settings.section import Settings, default_of
from retune.settings.user_paths import is_path

# Short names for params.yaml, each pinned to one commit of the hub.
MODEL_PRESETS: dict[str, dict[str, str]] = {
    "builtin": {"source": "builtin"},
    "gpt2": {
        "source": "hub",
        "name": "openai-community/gpt2",
        "revision": "607a30d783dfa663caf39e06633721c8d4cfcd7e",
    },
}

# Chat templates that are built in.
CHAT_TEMPLATES = ("alpaca", "chatml", "gemma", "llama3", "mistral", "qwen")


class ModelSettings(Settings):
    """The base model.

    A short name (`builtin`, `gpt2`) or a folder (`./my-model`) may stand for the whole
    section.
    """

    source: Literal["builtin", "hub", "local"] = Field(
        description="`builtin`: a tiny GPT-2 with random weights, made here; `hub`: a"
        " Hugging Face model; `local`: a folder in the Hugging Face layout."
    )
    name: HubName | None = Field(None, description="Name on the hub, `owner/model`.")
    revision: Commit | None = Field(
        None, description="Commit of the hub model, 40 hex digits."
    )
    folder: str | None = Field(
        None, min_length=1, description="Folder of a local model."
    )
    split_special_tokens: bool = Field(
        True,
        description="Special tokens spelled out in the text, such as `<|endoftext|>`,"
        " are text like any other. `false`: they are special tokens, for text that"
        " holds them on purpose.",
    )
    chat_template: str = Field(
        "auto",
        min_length=1,
        description="Chat template by which conversations become text. `auto`: the"
        " model's own; or a file with one, such as `my_template.jinja`; or the name of"
        " one that is built in: `alpaca`, which needs no special tokens, `chatml`,"
        " `gemma`, `llama3`, `mistral`, `qwen`. Special tokens of a built-in one that"
        " the model lacks are added to it. The published model carries the template.",
    )
    vocab_size: int = Field(
        4096, ge=300, le=65536, description="Built-in model: tokens of its vocabulary."
    )
    n_positions: int = Field(
        256, ge=16, description="Built-in model: context length, tokens."
    )
    n_embd: int = Field(192, ge=8, description="Built-in model: hidden size.")
    n_layer: int = Field(4, ge=1, description="Built-in model: layers.")
    n_head: int = Field(4, ge=1, description="Built-in model: attention heads.")
    seed: int = Field(
        0, ge=0, description="Built-in model: seed of its random weights."
    )

    @model_validator(mode="before")
    @classmethod
    def _expand_short_form(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        if value in MODEL_PRESETS:
            return MODEL_PRESETS[value]
        if is_path(value):
            return {"source": "local", "folder": value}
        raise ValueError(
            f"{value!r} is no known short name, and no folder that is there: write one"
            f" of {', '.join(sorted(MODEL_PRESETS))}, a folder, or source: hub with"
            " name and revision"
        )

    @model_validator(mode="after")
    def _check_source(self) -> "ModelSettings":
        check_hub_reference(self.source, self.name, self.revision, "")
        if (self.source == "local") != (self.folder is not None):
            raise ValueError("folder goes with source: local, and local needs it")
        if self.source == "builtin" and self.n_embd % self.n_head:
            raise ValueError(
                f"n_embd ({self.n_embd}) must be a multiple of n_head ({self.n_head})"
            )
        only_builtin = {
            "vocab_size",
            "n_positions",
            "n_embd",
            "n_layer",
            "n_head",
            "seed",
        }
        if self.source != "builtin" and (extra := only_builtin & self.model_fields_set):
            # A section that comes from a dump sets every field, most to its default.
            extra = {
                key for key in extra if getattr(self, key) != default_of(self, key)
            }
            if extra:
                raise ValueError(
                    f"{', '.join(sorted(extra))}: only for source: builtin,"
                    f" not source: {self.source}"
                )
        return self
