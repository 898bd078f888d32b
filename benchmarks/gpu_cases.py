"""What `gpu.py` measures: models, our levers, and trainings in the order of worth."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from training_inputs import NO_DROPOUT, Setup

# Steps of a training; `engine_ways` does not take the last one.
STEPS = 12
# The first steps allocate, choose kernels and compile.
DROPPED = 4


@dataclass(frozen=True)
class Shape:
    """A model, and how the trainings of it are divided.

    Attributes:
        setup: The model, and settings of `configure` that all its trainings have.
        seconds: Limit of one training on a GPU, its start included.
        lora: The section `finetune.lora`; None: all weights are trained.
        whole_blocks: Whether every document fills a block.
        steps: Steps of a training.
    """

    setup: Setup
    seconds: int = 80
    lora: dict[str, Any] | None = None
    whole_blocks: bool = False
    steps: int = STEPS


# Llama 3's vocabulary.
WORDS = {"vocab_size": 128_256}


def llama(hidden: int, inner: int, layers: int, heads: int, grouped: int) -> dict:
    """Return the config of a Llama with Llama 3's vocabulary."""
    return WORDS | {
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": grouped,
        "max_position_embeddings": 131_072,
        "rope_parameters": {"rope_type": "default", "rope_theta": 500_000.0},
    }


LLAMA_1B = llama(2048, 8192, 16, 32, 8) | {"tie_word_embeddings": True}
CHECKPOINTED = {"activation_checkpointing": True}
ADAPTERS = {"r": 16, "lora_alpha": 32}
LLAMA_8B = Setup(
    "llama",
    llama(4096, 14336, 32, 32, 8),
    4096,
    {"global_batch_size": 4, "micro_batch_size": 1},
)
# The 1B is that of Llama 3.2, the 8B that of Llama 3.1, the 0.5B is like Qwen 2.5's.
SHAPES = {
    "llama-1b": Shape(
        Setup("llama", LLAMA_1B, 2048, {"global_batch_size": 16, "micro_batch_size": 4})
    ),
    "gpt2-124m": Shape(
        Setup(
            "gpt2", NO_DROPOUT, 1024, {"global_batch_size": 64, "micro_batch_size": 16}
        ),
        seconds=60,
    ),
    "llama-8b-lora": Shape(LLAMA_8B, seconds=100, lora=ADAPTERS),
    "llama-0.5b": Shape(
        Setup(
            "llama",
            llama(896, 4864, 24, 14, 2) | {"tie_word_embeddings": True},
            2048,
            {"global_batch_size": 32, "micro_batch_size": 4},
        ),
        seconds=60,
    ),
    "llama-8b-qlora": Shape(
        LLAMA_8B, seconds=100, lora=ADAPTERS | {"load_in_4bit": True}
    ),
    "llama-1b-64k": Shape(
        Setup(
            "llama",
            LLAMA_1B,
            65_536,
            {"global_batch_size": 1, "micro_batch_size": 1, **CHECKPOINTED},
        ),
        seconds=150,
        whole_blocks=True,
        steps=7,
    ),
}
# In the order in which they are measured.
FIRST = ("llama-1b", "gpt2-124m")
LATER = ("llama-8b-lora", "llama-8b-qlora", "llama-0.5b")
LONG = "llama-1b-64k"

# Without them: some levers do not go with Liger's kernels, and `configure` would leave
# these out.
NO_LIGER = {"use_liger_kernel": False}
# Setting of `configure` -> the values that are measured one by one, beside the training
# in which all others are as `configure` chooses, but for Liger's kernels. A setting or
# a value that this version of retune does not have is passed over.
LEVERS: dict[str, list[Any]] = {
    "chunked_cross_entropy": [True, False],
    "attn_implementation": ["varlen", "sdpa", "flex_attention"],
    "torch_compile": [True, False],
    "use_liger_kernel": [True],
    "activation_checkpointing": [True, "selective"],
    "micro_batch_size": [8, 16],
    "optim": ["adamw_8bit"],
    "zero_stage": [2, 3],
}
# What no CPU can, or would compile for longer than it trains.
NEEDS_GPU = [
    {"attn_implementation": "flex_attention"},
    {"torch_compile": True},
    {"use_liger_kernel": True},
]
# Settings that all trainings have, unless a lever says otherwise: `configure` would
# search among strategies, and it is to be known what is measured.
COMMON = {
    "zero_stage": 1,
    "offload_optimizer": "none",
    "offload_param": "none",
    "activation_checkpointing": False,
}
# The Trainer's kernels, and ours where both are to have the same.
PLAIN = {"attn_implementation": "sdpa"}


@dataclass(frozen=True)
class Case:
    """One training to measure.

    Attributes:
        shape: Name of the shape.
        way: Of `engine_ways.WAYS`.
        configure: Settings of `configure` beside those of the shape.
        options: Further arguments of the way.
    """

    shape: str
    way: str = "retune"
    configure: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The way and what is special, for the table."""
        special = {**self.configure, **self.options}
        shown = [f"{key}={value}" for key, value in special.items() if special]
        return ", ".join([self.way, *shown])


def shape_of(case: Case, toy: bool) -> Shape:
    """Return the shape of a case, if asked in toy size."""
    return as_toy(SHAPES[case.shape]) if toy else SHAPES[case.shape]


def settings_of(case: Case, toy: bool) -> dict[str, Any]:
    """Return the `configure` section of a case."""
    return {**COMMON, **shape_of(case, toy).setup.batch, **case.configure}


def trainer(shape: str, **options: Any) -> Case:
    """Return the Trainer's training of a shape, with sdpa."""
    return Case(shape, "Trainer", PLAIN, options)


def speed_cases(toy: bool) -> Iterator[Case]:
    """Yield the trainings in the order of worth; the time may not suffice for all.

    Args:
        toy: Whether it is about the script, and not about figures.
    """
    for shape in FIRST:
        yield from both_ways(shape, toy)
    for shape in FIRST:
        yield Case(shape, options={"profile": True})
    yield from lever_cases("llama-1b", toy)
    if not toy:
        yield trainer("llama-1b")
    for shape in LATER:
        yield from both_ways(shape, toy)
    yield Case("llama-8b-lora", configure={"micro_batch_size": 2, **CHECKPOINTED})
    for shape in () if toy else ("llama-8b-lora", "llama-0.5b", "gpt2-124m"):
        yield from lever_cases(shape, toy)


def both_ways(shape: str, toy: bool) -> Iterator[Case]:
    """Yield our training of a shape and the Trainer's, with Liger where it can be."""
    yield Case(shape)
    # Liger has no kernels for GPT-2, and none for CPUs.
    has_liger = not shape.startswith("gpt2") and not toy
    with_liger = {"use_liger_kernel": True} if has_liger else {}
    yield trainer(shape, **with_liger)


def lever_cases(shape: str, toy: bool) -> Iterator[Case]:
    """Yield a training without Liger, and one for each value of each lever."""
    usual = settings_of(Case(shape), toy) | NO_LIGER
    yield Case(shape, configure=NO_LIGER)
    for key, values in LEVERS.items():
        for value in values:
            settings = usual | {key: value}
            if toy and {key: value} in NEEDS_GPU:
                continue
            if settings != usual and is_possible(settings):
                yield Case(shape, configure=NO_LIGER | {key: value})


def is_possible(section: dict[str, Any]) -> bool:
    """Return whether this version has the settings, and one rank can train so."""
    from pydantic import ValidationError

    from retune.settings import ConfigureSettings, split_problems, strategy_problems

    try:
        settings = ConfigureSettings(**section)
    except ValidationError:
        return False
    return not (split_problems(settings, 1) or strategy_problems(settings))


def long_cases(toy: bool) -> Iterator[Case]:
    """Yield the trainings with 64 k tokens of context."""
    yield Case(LONG)


# Part -> its trainings.
LONG_PART = "64 k tokens of context"
PARTS = {"speed": speed_cases, LONG_PART: long_cases}


def cases_of(part: str, toy: bool, only: str = "") -> list[Case]:
    """Return the trainings of a part, those whose shape and name a pattern finds."""
    cases = PARTS[part](toy)
    return [case for case in cases if re.search(only, f"{case.shape}: {case.name}")]


def as_toy(shape: Shape) -> Shape:
    """Return the same in a size that a CPU trains in a second."""
    length = 256 if shape.whole_blocks else 64
    if shape.setup.model_type == "gpt2":
        config = {"vocab_size": 512, "n_positions": 64, "n_embd": 32, "n_layer": 2}
        config |= {"n_head": 2, **NO_DROPOUT}
    else:
        tied = {"tie_word_embeddings": True} if not shape.lora else {}
        # Widths that bitsandbytes holds in 4 bits and has 8-bit moments for.
        config = llama(64, 128, 2, 4, 2) | {"vocab_size": 512} | tied
    batch = {**shape.setup.batch, "global_batch_size": 4, "micro_batch_size": 2}
    setup = Setup(shape.setup.model_type, config, length, batch, accelerator="cpu")
    return replace(shape, setup=setup, seconds=120, steps=DROPPED + 3)
