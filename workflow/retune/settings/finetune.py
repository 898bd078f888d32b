"""The section `finetune`: optimisation, and what is kept of it."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field

from retune.settings.section import Auto, Count, Settings, Share, list_or_word

Rate = Annotated[float, Field(gt=0)]
LearningRateSchedule = Literal[
    "cosine", "linear", "constant", "WarmupLR", "WarmupDecayLR"
]


class LoraSettings(Settings):
    """Low-rank adapters, with the names of peft's LoraConfig."""

    r: int = Field(16, ge=1, description="Rank of the adapters.")
    lora_alpha: float = Field(
        32,
        gt=0,
        description="Adapters are scaled by `lora_alpha` / `r`; with `use_rslora` by"
        " `lora_alpha` / the square root of `r`.",
    )
    lora_dropout: float = Field(
        0.0, ge=0, lt=1, description="Dropout of the adapters' input."
    )
    target_modules: Annotated[
        list[str] | Literal["all-linear"],
        list_or_word("all-linear", "the end of a layer's name"),
    ] = Field(
        "all-linear",
        description="Layers that get adapters, by the end of their names (`q_proj`);"
        " `all-linear`: all but the output head and, in a mixture, the experts.",
    )
    use_rslora: bool = Field(
        False,
        description="Rank-stabilized LoRA: divide by the square root of the rank, for"
        " high ranks.",
    )
    use_dora: bool = Field(
        False,
        description="DoRA: train the magnitude of an adapted weight apart from its"
        " direction. A step takes longer.",
    )
    load_in_4bit: bool = Field(
        False,
        description="QLoRA: hold the frozen weights of linear layers, but for the"
        " output head, in 4 bits (NF4 of bitsandbytes, which has to be installed), with"
        " ZeRO 0 to 2. `consolidate` merges the adapters into what the 4 bits stand"
        " for.",
    )


class RowsPerEpoch(Settings):
    """How many documents of a source an epoch reads, about."""

    rows: Count


def weight_of(value: Any) -> float | RowsPerEpoch:
    """Return how often an epoch reads a source, if that is what a value says."""
    if isinstance(value, RowsPerEpoch):
        return value
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if is_number and 0 <= value < float("inf"):
        return float(value)
    rows = value.get("rows") if isinstance(value, dict) and len(value) == 1 else None
    if isinstance(rows, int) and not isinstance(rows, bool) and rows >= 1:
        return RowsPerEpoch(rows=rows)
    raise ValueError(
        f"{value!r} should be a number from 0, how often an epoch reads the source, or"
        " {rows: NUMBER}, how many of its documents an epoch reads"
    )


Weight = Annotated[
    float | RowsPerEpoch,
    BeforeValidator(
        weight_of,
        json_schema_input_type=Annotated[float, Field(ge=0)] | RowsPerEpoch,
    ),
]


class TrainedWeightsSettings(Settings):
    """Which weights are trained: the model's, or those of adapters."""

    lora: LoraSettings | None = Field(
        None,
        description="Train low-rank adapters and freeze the model: `{r: 16,"
        " lora_alpha: 32}`. `consolidate` merges them into the model.",
    )


class FinetuneSettings(TrainedWeightsSettings):
    """How the model is optimised, and which checkpoints are kept."""

    OPERATIONAL: ClassVar = frozenset(
        {
            "save_steps",
            "save_total_limit",
            "save_only_model",
            "max_skipped_steps",
            "ddp_timeout",
            "profile",
        }
    )

    epochs: float = Field(1.0, gt=0, description="Passes over the training blocks.")
    max_steps: int | None = Field(
        None,
        ge=1,
        description="At most this many optimizer steps; `epochs` may end before.",
    )
    mix: dict[str, Weight] = Field(
        {},
        description="How often an epoch reads each of `dataset.sources`: `{python: 2,"
        " mine: 0.5}` reads `python` twice, and one half of `mine` in an epoch, the"
        " other in the next one. `0` leaves a source out, `{rows: 5000}` reads about so"
        " many of its documents. A source that is not named is read once.",
    )
    learning_rate: Rate | Auto = Field(
        "auto",
        description="Peak learning rate; `auto`: 5e-5 for a pre-trained model, 2e-4"
        " with `lora`, 1.5e-3 for the built-in model, whose weights are random.",
    )
    lr_scheduler_type: LearningRateSchedule = Field(
        "cosine",
        description="After the warm-up: decay, or `constant`. `WarmupLR` and"
        " `WarmupDecayLR` are DeepSpeed's: the warm-up is logarithmic, then the rate is"
        " constant, or falls to 0, whatever `min_lr_ratio`.",
    )
    warmup_ratio: Share = Field(
        0.05, description="Share of the steps over which the learning rate rises."
    )
    warmup_steps: int | None = Field(
        None, ge=0, description="Length of the warm-up in steps, instead of the share."
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
    load_best_model_at_end: bool = Field(
        False,
        description="Publish the saved checkpoint with the lowest validation loss"
        " instead of the last one.",
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
    save_only_model: bool = Field(
        False,
        description="Leave the optimizer's moments, 8 of 12 to 16 bytes per parameter,"
        " out of `results/finetune/checkpoint`. `consolidate` makes the same model of"
        " it, but nobody can continue the optimizer from it. Checkpoints under `state/`"
        " are always whole: an interrupted run resumes either way. A change reruns"
        " nothing; it counts from the next training on.",
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
    profile: bool = Field(
        False,
        description="Profile a few steps of rank 0: the ten operations that take"
        " longest in the report, and a trace, `results/finetune/trace.json.gz`."
        " A change reruns nothing; it counts from the next training on.",
    )

    @property
    def peak_learning_rate(self) -> float:
        """The peak learning rate, once `auto` is replaced."""
        assert self.learning_rate != "auto", "finetune.learning_rate is not resolved"
        return self.learning_rate
