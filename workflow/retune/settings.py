"""Typed view of params.yaml: one frozen model per section.

Types, defaults, bounds and descriptions live here and nowhere else; the JSON
schema and the tables of config/README.md are generated from them (manual.py).
"""

import re
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)

Auto = Literal["auto"]
Offload = Literal["none", "cpu", "nvme"]
Commit = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}$")]
HubName = Annotated[
    str,
    StringConstraints(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,95}(/[A-Za-z0-9][A-Za-z0-9_.-]{0,95})?$"
    ),
]
Count = Annotated[int, Field(ge=1)]
Length = Annotated[int, Field(ge=8)]
Gigabytes = Annotated[float, Field(gt=0)]
Rate = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)

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
MODEL_PRESETS: dict[str, dict[str, Any]] = {
    "builtin": {"source": "builtin"},
    "gpt2": {
        "source": "hub",
        "name": "openai-community/gpt2",
        "revision": "607a30d783dfa663caf39e06633721c8d4cfcd7e",
    },
}


class Settings(BaseModel):
    """Base of every section: an unknown key is an error, values are read-only."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


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
        description="Local files of each split, globs allowed (`jsonl`, `parquet`,"
        " `csv`, `txt`). With `train` alone, `prepare` splits it.",
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


class ModelSettings(Settings):
    """The base model.

    A short name (`builtin`, `gpt2`) may stand for the whole section.
    """

    source: Literal["builtin", "hub", "local"] = Field(
        description="`builtin`: a tiny GPT-2 with random weights, made here; `hub`: a"
        " Hugging Face model; `local`: a folder in the Hugging Face layout."
    )
    name: HubName | None = Field(None, description="Name on the hub, `owner/model`.")
    revision: Commit | None = Field(
        None, description="Commit of the hub model, 40 hex digits."
    )
    folder: str | None = Field(None, description="Folder of a local model.")
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
        raise ValueError(
            f"{value!r} is no known short name: write one of"
            f" {', '.join(sorted(MODEL_PRESETS))}, source: hub with name and revision,"
            " or source: local with folder"
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
            # A dumped section names every field; only a changed one is a mistake.
            extra = {
                key for key in extra if getattr(self, key) != default_of(self, key)
            }
            if extra:
                raise ValueError(
                    f"{', '.join(sorted(extra))}: only for source: builtin,"
                    f" not source: {self.source}"
                )
        return self


def default_of(settings: Settings, key: str) -> Any:
    """Return the default of a field."""
    return type(settings).model_fields[key].default


def check_hub_reference(
    source: str, name: str | None, revision: str | None, kind: str
) -> None:
    """Raise ValueError unless `name` and `revision` are there exactly for the hub."""
    if source != "hub":
        if name or revision:
            raise ValueError(f"name and revision go with source: hub, not {source}")
    elif not name:
        raise ValueError("source: hub needs name, as in owner/name")
    elif not revision:
        raise ValueError(
            f"revision is missing: pin {name} to a commit (40 hex digits; the newest is"
            f" printed by: git ls-remote https://huggingface.co/{kind}{name} HEAD)"
        )


class HardwareSettings(Settings):
    """The machines the run is planned for; `auto` asks the one `configure` runs on."""

    accelerator: Literal["cpu", "cuda", "auto"] = Field(
        "cpu", description="What the ranks compute on."
    )
    nodes: int = Field(1, ge=1, description="Number of machines.")
    gpus_per_node: Count | Auto = Field(
        2,
        description="GPUs, and so ranks, per node; with `accelerator: cpu` the CPU"
        " ranks per node.",
    )
    gpu_memory_gb: Gigabytes | Auto = Field(
        "auto",
        description="Memory of one GPU, GB: decides between ZeRO-2 and ZeRO-3.",
    )
    cpu_memory_gb: Gigabytes | Auto = Field(
        "auto",
        description="Main memory of one node, GB; offloading must fit into it.",
    )
    nvme_path: str | None = Field(
        None, description="Folder on a fast local disk, for offloading to `nvme`."
    )
    peak_tflops: Annotated[float, Field(gt=0)] | Auto = Field(
        "auto",
        description="Dense TFLOP/s of one GPU in the run's precision, what model FLOPs"
        " utilisation is a share of; `auto`: known for common GPUs.",
    )

    @model_validator(mode="after")
    def _check_nodes(self) -> "HardwareSettings":
        if self.nodes > 1 and "auto" in (self.accelerator, self.gpus_per_node):
            raise ValueError(
                f"nodes is {self.nodes}: accelerator and gpus_per_node must be given,"
                " auto can ask one machine only"
            )
        return self


class PrepareSettings(Settings):
    """Checks, duplicates and splits."""

    min_characters: int = Field(
        20,
        ge=1,
        description="Documents with fewer are rejected; white space at the ends does"
        " not count.",
    )
    max_rejected_share: Share = Field(
        0.05, description="Stop if a larger share of the documents is rejected."
    )
    validation_share: Share = Field(
        0.05,
        description="Share of the groups for validation, if the data has none.",
    )
    test_share: Share = Field(
        0.05, description="Share of the groups for test, if the data has none."
    )
    overlap_words: int = Field(
        13,
        ge=0,
        description="A validation or test document that shares a run of this many"
        " words with train is dropped from it; 0 keeps all.",
    )
    seed: int = Field(0, ge=0, le=2**32 - 1, description="Seed of the split.")

    @model_validator(mode="after")
    def _leave_some_for_train(self) -> "PrepareSettings":
        if self.validation_share + self.test_share >= 1:
            raise ValueError(
                f"validation_share ({self.validation_share}) + test_share"
                f" ({self.test_share}) leave nothing to train on: must be below 1"
            )
        return self


class TokenizeSettings(Settings):
    """Tokens and blocks."""

    sequence_length: Length | Auto = Field(
        "auto",
        description="Tokens per training sequence; `auto`: the model's context, at most"
        " 2048.",
    )


class ConfigureSettings(Settings):
    """What `configure` writes into the DeepSpeed config; `auto` lets it decide."""

    global_batch_size: int = Field(
        16, ge=1, description="Sequences per optimizer step, over all ranks."
    )
    micro_batch_size: Count | Auto = Field(
        "auto", description="Sequences per rank and forward pass."
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto",
        description="`auto`: bf16 where the hardware computes it fast, else fp32.",
    )
    zero_stage: Literal["auto", 0, 1, 2, 3] = Field(
        "auto", description="DeepSpeed ZeRO stage."
    )
    offload_optimizer: Offload = Field(
        "none",
        description="Keep optimizer states in CPU memory, or under"
        " `hardware.nvme_path` (`nvme`: ZeRO-3 only).",
    )
    offload_param: Offload = Field(
        "none",
        description="Keep parameters in CPU memory, or under `hardware.nvme_path`"
        " (ZeRO-3 only).",
    )
    pipeline_stages: int = Field(
        1,
        ge=1,
        description="Cut the model into this many stages, a rank each, with ZeRO-1;"
        " 1: no pipeline. GPT-2, Llama, Mistral and Qwen models.",
    )
    activation_checkpointing: bool = Field(
        False, description="Recompute activations: less memory, slower."
    )
    attn_implementation: Literal["auto", "sdpa", "flash_attention_2", "eager"] = Field(
        "auto",
        description="Attention kernels, as transformers names them; `auto`:"
        " flash_attention_2 on GPUs where it is installed, else sdpa.",
    )
    gradient_clipping: float = Field(
        1.0, ge=0, description="Largest norm of the gradient; 0 does not clip."
    )

    @model_validator(mode="after")
    def _check_strategy(self) -> "ConfigureSettings":
        problems = []
        if self.zero_stage == 0 and self.precision in ("bf16", "fp16"):
            problems.append(
                f"zero_stage: 0 with precision: {self.precision} takes one Adam step"
                " too many in DeepSpeed 0.19: use zero_stage: 1, or precision: fp32"
            )
        if self.offload_param != "none" and self.zero_stage not in ("auto", 3):
            problems.append(
                f"offload_param: {self.offload_param} needs zero_stage: 3, not"
                f" {self.zero_stage}"
            )
        if self.offload_optimizer != "none" and self.zero_stage == 0:
            problems.append(
                f"offload_optimizer: {self.offload_optimizer} needs zero_stage: 1, 2"
                " or 3, not 0"
            )
        if self.offload_optimizer == "nvme" and self.zero_stage not in ("auto", 3):
            problems.append(
                f"offload_optimizer: nvme needs zero_stage: 3, not {self.zero_stage}"
            )
        if self.pipeline_stages > 1:
            problems += self._pipeline_problems()
        if problems:
            raise ValueError("\n".join(problems))
        return self

    def _pipeline_problems(self) -> list[str]:
        stages = f"pipeline_stages: {self.pipeline_stages}"
        problems = []
        if self.zero_stage not in ("auto", 1):
            problems.append(f"{stages} needs zero_stage: 1, not {self.zero_stage}")
        problems += [
            f"{stages} goes with {key}: none, not {getattr(self, key)}"
            for key in ("offload_optimizer", "offload_param")
            if getattr(self, key) != "none"
        ]
        return problems


class LoraSettings(Settings):
    """Low-rank adapters, with the names of peft's LoraConfig."""

    r: int = Field(16, ge=1, description="Rank of the adapters.")
    lora_alpha: float = Field(
        32, gt=0, description="Adapters are scaled by `lora_alpha` / `r`."
    )
    lora_dropout: float = Field(
        0.0, ge=0, lt=1, description="Dropout of the adapters' input."
    )
    target_modules: list[str] | Literal["all-linear"] = Field(
        "all-linear",
        description="Layers that get adapters, by the end of their names (`q_proj`);"
        " `all-linear`: all but the output head.",
    )


class FinetuneSettings(Settings):
    """Optimisation."""

    epochs: float = Field(1.0, gt=0, description="Passes over the training blocks.")
    max_steps: int | None = Field(
        None,
        ge=1,
        description="Stop after this many optimizer steps, whatever `epochs`.",
    )
    learning_rate: Rate | Auto = Field(
        "auto",
        description="Peak learning rate; `auto`: 5e-5 for a pre-trained model, 2e-4"
        " with `lora`, 1.5e-3 for the built-in model, whose weights are random.",
    )
    lora: LoraSettings | None = Field(
        None,
        description="Train low-rank adapters and freeze the model: `{r: 16,"
        " lora_alpha: 32}`. `consolidate` merges them into the model.",
    )
    lr_scheduler_type: Literal["cosine", "linear", "constant", "WarmupLR"] = Field(
        "cosine",
        description="After the warm-up: decay, or `constant`. `WarmupLR` is"
        " DeepSpeed's: the warm-up is logarithmic, then constant.",
    )
    warmup_ratio: Share = Field(
        0.05, description="Share of the steps over which the learning rate rises."
    )
    warmup_steps: int | None = Field(
        None, ge=0, description="The same as a number of steps, instead of the share."
    )
    min_lr_ratio: Share = Field(
        0.1, description="Learning rate at the end, as a share of the peak."
    )
    weight_decay: float = Field(
        0.1, ge=0, description="AdamW weight decay, of matrices only."
    )
    adam_beta1: float = Field(0.9, ge=0, lt=1, description="AdamW beta 1.")
    adam_beta2: float = Field(0.95, ge=0, lt=1, description="AdamW beta 2.")
    adam_epsilon: float = Field(1e-8, gt=0, description="AdamW epsilon.")
    seed: int = Field(
        0, ge=0, le=2**32 - 1, description="Seed of the data order and of dropout."
    )
    eval_steps: int = Field(
        25, ge=1, description="Optimizer steps between validations."
    )
    save_steps: int = Field(
        50, ge=1, description="Optimizer steps between checkpoints under `state/`."
    )
    save_total_limit: int = Field(
        2,
        ge=1,
        description="Newest checkpoints to keep; the best one, by its validation loss,"
        " is kept besides.",
    )
    load_best_model_at_end: bool = Field(
        False,
        description="Publish the saved checkpoint with the lowest validation loss"
        " instead of the last one.",
    )
    save_only_model: bool = Field(
        False,
        description="Leave the optimizer's moments, 8 of 12 to 16 bytes per parameter,"
        " out of `results/finetune/checkpoint`. `consolidate` makes the same model of"
        " it, but nobody can continue the optimizer from it. Checkpoints under `state/`"
        " are always whole: an interrupted run resumes either way.",
    )
    max_skipped_steps: int = Field(
        10,
        ge=0,
        description="A step whose loss or gradients are not finite is skipped and"
        " counted; stop after more than this many. Not counted: with fp16, steps that"
        " only look for the loss scale.",
    )
    ddp_timeout: int = Field(
        1800,
        ge=10,
        description="Seconds without any progress after which a rank counts as hanging"
        " and the run is ended; at least 600 while it imports its libraries.",
    )


class ConsolidateSettings(Settings):
    """The published weights."""

    max_shard_size_gb: float = Field(
        5.0, gt=0, description="Largest safetensors file, GB."
    )


class EvaluateSettings(Settings):
    """The protocol, the same for the base and the tuned model."""

    context_length: Length | Auto = Field(
        "auto",
        description="Tokens per window; `auto`: the model's context, at most 1024.",
    )
    stride: Count | Auto = Field(
        "auto",
        description="Tokens a window moves on; `auto`: the whole window, as lm-eval"
        " does. Smaller is slower and gives every token more context.",
    )
    batch_size: int = Field(16, ge=1, description="Windows per forward pass.")
    bootstrap_draws: int = Field(
        2000, ge=100, description="Resamples of the documents for the 95 % interval."
    )
    seed: int = Field(
        0, ge=0, le=2**32 - 1, description="Seed of the bootstrap and of the samples."
    )
    prompts: list[str] = Field(
        ["Return the", "This module provides", "If the argument is"],
        description="Texts the samples continue.",
    )
    max_new_tokens: int = Field(48, ge=1, description="Tokens per sample.")

    @model_validator(mode="after")
    def _check_stride(self) -> "EvaluateSettings":
        lengths = (self.stride, self.context_length)
        if "auto" not in lengths and self.stride > self.context_length:
            raise ValueError(
                f"stride ({self.stride}) must not exceed context_length"
                f" ({self.context_length}): tokens between windows would go unscored"
            )
        return self


class Params(Settings):
    """All of params.yaml."""

    dataset: DatasetSettings
    model: ModelSettings
    hardware: HardwareSettings = HardwareSettings()
    prepare: PrepareSettings = PrepareSettings()
    tokenize: TokenizeSettings = TokenizeSettings()
    configure: ConfigureSettings = ConfigureSettings()
    finetune: FinetuneSettings = FinetuneSettings()
    consolidate: ConsolidateSettings = ConsolidateSettings()
    evaluate: EvaluateSettings = EvaluateSettings()

    @model_validator(mode="after")
    def _check_across_sections(self) -> "Params":
        problems = problems_across(self.hardware, self.configure)
        if self.finetune.lora and self.configure.pipeline_stages > 1:
            problems.append(
                "finetune.lora goes with configure.pipeline_stages: 1, not"
                f" {self.configure.pipeline_stages}"
            )
        if problems:
            raise ValueError("\n".join(problems))
        return self


def problems_across(
    hardware: HardwareSettings, configure: ConfigureSettings
) -> list[str]:
    """Return what two sections make impossible together, a line each."""
    problems = []
    ranks, micro = hardware.gpus_per_node, configure.micro_batch_size
    stages = configure.pipeline_stages
    if ranks != "auto":
        ranks *= hardware.nodes
        if ranks % stages:
            problems.append(
                f"configure.pipeline_stages: {stages}, but {ranks} ranks are not a"
                " multiple of it"
            )
            return problems
        ranks //= stages
        per_pass = ranks * (1 if micro == "auto" else micro)
        batch = configure.global_batch_size
        if batch % per_pass:
            nearest = max(1, round(batch / per_pass)) * per_pass
            counted = "ranks" if stages == 1 else "ranks / pipeline_stages"
            problems.append(
                f"configure.global_batch_size: {batch} is not a multiple of {counted} x"
                f" micro_batch_size ({ranks} x {micro}); {nearest} would be"
            )
    problems += [
        f"configure.{key}: nvme needs hardware.nvme_path, a folder on a fast local disk"
        for key in ("offload_optimizer", "offload_param")
        if getattr(configure, key) == "nvme" and not hardware.nvme_path
    ]
    if hardware.accelerator == "cpu" and configure.precision == "fp16":
        problems.append(
            "configure.precision: fp16, but hardware.accelerator is cpu: DeepSpeed has"
            " no fp16 there; write fp32 or bf16"
        )
    return problems
