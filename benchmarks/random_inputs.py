"""What a benchmark of speed or memory trains: random weights, and random documents.

It is made in seconds, on machines that have no text, no tokenizer and no reader of
tables: how fast a model trains does not depend on what its weights are.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from tokenizers import ByteLevelBPETokenizer
from training_inputs import SEED, Setup
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from retune.artifacts.publishing import write_manifest
from retune.artifacts.tokens_index import (
    SplitNumbers,
    SplitSize,
    TokenMetrics,
    TokensIndex,
)
from retune.models.find_model_facts import find_model_facts
from retune.models.weight_names import named_weights
from retune.settings import (
    SPLITS,
    ConfigureSettings,
    HardwareSettings,
    Split,
    TrainedWeightsSettings,
)
from retune.steps import configure
from retune.tokens.packing import Packed, pack_split
from retune.tokens.store import token_dtype, written_split

END = "<|end|>"
# Of the weights that are no norm.
DEVIATION = 0.02
# Bytes of a file of weights; several files are verified at once.
SHARD_BYTES = 2 * 10**9
# Lengths of documents, tokens: the median, and the standard deviation of the logarithm.
MEDIAN_LENGTH, SPREAD = 400, 1.2
SHORTEST = 16
# Blocks of a split that is not trained on.
HELD_OUT = 2


def write_model(folder: Path, setup: Setup) -> None:
    """Write a model of random bf16 weights, with a tokenizer that nobody asks."""
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator([END], 300, special_tokens=[END], show_progress=False)
    PreTrainedTokenizerFast(
        tokenizer_object=bpe._tokenizer, bos_token=END, eos_token=END
    ).save_pretrained(folder)
    config = AutoConfig.for_model(
        setup.model_type,
        **{"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": None, **setup.config},
    )
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.config.save_pretrained(folder)
    write_weights(folder, dict(named_weights(model)))
    find_model_facts(folder).write(folder)
    write_manifest(folder)


def write_weights(folder: Path, shapes: dict[str, torch.Tensor]) -> None:
    """Write random weights of the shapes, in several files of Hugging Face's layout.

    Args:
        folder: Folder of the model.
        shapes: Weights on the meta device, by name.
    """
    shards: list[list[str]] = [[]]
    size = 0
    for name, shape in shapes.items():
        if size > SHARD_BYTES:
            shards.append([])
            size = 0
        shards[-1].append(name)
        size += shape.nbytes
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(SEED)
    files = {}
    for number, names in enumerate(shards, 1):
        file = f"model-{number:05}-of-{len(shards):05}.safetensors"
        weights = {name: random_weight(shapes[name], device) for name in names}
        save_file(weights, folder / file, metadata={"format": "pt"})
        files |= dict.fromkeys(names, file)
    total = sum(shape.nbytes for shape in shapes.values())
    index = {"metadata": {"total_size": total}, "weight_map": files}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def random_weight(shape: torch.Tensor, device: str) -> torch.Tensor:
    """Return a weight of the shape and dtype of one on the meta device."""
    weight = torch.empty_like(shape, device=device)
    # What has one dimension is a norm's weight, or a bias.
    return (weight.normal_(0, DEVIATION) if shape.dim() > 1 else weight.fill_(1)).cpu()


def write_tokens(folder: Path, setup: Setup, blocks: int, whole_blocks: bool) -> None:
    """Write packed documents of unequal lengths, and their numbers for `configure`.

    Args:
        folder: Folder of the tokens; `tokens.json` goes beside it.
        setup: What is trained.
        blocks: About how many training blocks.
        whole_blocks: Whether every document fills a block.
    """
    folder.mkdir()
    random = np.random.default_rng(SEED)
    length = setup.sequence_length
    vocab_size = AutoConfig.for_model(setup.model_type, **setup.config).vocab_size
    dtype = token_dtype(vocab_size)
    sizes: dict[Split, SplitSize] = {}
    numbers: dict[Split, SplitNumbers] = {}
    for split in SPLITS:
        wanted = length * (blocks if split == "train" else HELD_OUT)
        lengths = document_lengths(random, wanted, length, whole_blocks)
        with written_split(folder, split, dtype, False) as stream:
            for count in lengths:
                # Some words are frequent, most are rare.
                places = random.random(count) ** 3
                stream.append((1 + places * (vocab_size - 2)).astype(dtype), [count])
        packed = Packed.total(
            pack_split(folder, split, dtype, length, "wrap", "split", False)
        )
        sizes[split] = SplitSize(
            documents=len(lengths),
            sequences=len(lengths),
            tokens=stream.tokens,
            bytes=4 * stream.tokens,
            blocks=packed.blocks,
        )
        numbers[split] = SplitNumbers(
            documents=len(lengths),
            sequences=len(lengths),
            tokens=stream.tokens,
            trained_tokens=packed.trained_tokens,
            trained_share=packed.trained_tokens / packed.tokens,
            blocks=packed.blocks,
            padding_share=0.0,
            bytes_per_token=4.0,
            special_tokens_spelled_out=0,
            lost_characters=0,
        )
    TokensIndex(
        sequence_length=length,
        has_answers=False,
        packing="wrap",
        vocab_size=vocab_size,
        splits=sizes,
        dtype=dtype.str,
        bos_token_id=0,
        eos_token_id=0,
        tokenizer_sha256="",
    ).write(folder)
    write_manifest(folder)
    TokenMetrics(
        sequence_length=length,
        has_answers=False,
        packing="wrap",
        vocab_size=vocab_size,
        splits=numbers,
    ).write(folder.with_suffix(".json"))


def document_lengths(
    random: np.random.Generator, tokens: int, longest: int, whole_blocks: bool
) -> list[int]:
    """Return lengths of documents, tokens, that are about so many together."""
    if whole_blocks:
        return [longest] * (tokens // longest)
    lengths: list[int] = []
    while sum(lengths) < tokens:
        drawn = random.lognormal(np.log(MEDIAN_LENGTH), SPREAD)
        lengths.append(int(np.clip(drawn, SHORTEST, longest)))
    return lengths


def write_plan(
    folder: Path,
    setup: Setup,
    settings: ConfigureSettings,
    plan: Path,
    lora: dict[str, Any] | None = None,
) -> None:
    """Write the plan that `configure` makes of settings.

    Args:
        folder: Folder of `base` and `tokens`.
        setup: What is trained.
        settings: The `configure` section.
        plan: Folder to write.
        lora: The section `finetune.lora`; None: all weights are trained.
    """
    hardware = HardwareSettings(
        accelerator=setup.accelerator, ranks_per_node=setup.ranks
    )
    base, metrics = folder / "base", folder / "tokens.json"
    trained = TrainedWeightsSettings(lora=lora)
    configure.run(settings, hardware, base, metrics, plan, trained)
