"""What the benchmarks of training train: models, and text as lines and tokens."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

VOCABULARY = 4096
LINE_TOKENS = range(5, 41)
SEED = 0


@dataclass(frozen=True)
class Setup:
    """One model and how it is trained.

    Attributes:
        model_type: As transformers names it.
        config: What differs from the family's defaults.
        sequence_length: Tokens of a packed block.
        batch: Settings of `configure`.
        ranks: Number of ranks.
        accelerator: cpu or cuda.
    """

    model_type: str
    config: dict[str, Any]
    sequence_length: int
    batch: dict[str, Any]
    ranks: int = 1
    accelerator: str = "cuda"


NO_DROPOUT = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
SETUPS = {
    "cpu": Setup(
        "gpt2",
        {"vocab_size": VOCABULARY, "n_positions": 512, "n_embd": 256, "n_layer": 6}
        | {"n_head": 4, **NO_DROPOUT},
        sequence_length=512,
        batch={"global_batch_size": 8, "micro_batch_size": 4},
        ranks=2,
        accelerator="cpu",
    ),
    "gpt2": Setup(
        "gpt2",
        NO_DROPOUT,
        sequence_length=1024,
        batch={"global_batch_size": 32, "micro_batch_size": 16},
    ),
    "llama-1b": Setup(
        "llama",
        {"vocab_size": 32000, "hidden_size": 2048, "intermediate_size": 8192}
        | {"num_hidden_layers": 16, "num_attention_heads": 32}
        | {"num_key_value_heads": 8, "max_position_embeddings": 2048},
        sequence_length=2048,
        batch={"global_batch_size": 8, "micro_batch_size": 4},
    ),
}


def prepare(folder: Path, setup: Setup) -> None:
    """Write base model, lines, tokens and plan."""
    import polars as pl
    import torch
    from tokenizers import ByteLevelBPETokenizer
    from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

    from retune.artifacts.publishing import write_manifest
    from retune.models.find_model_facts import find_model_facts
    from retune.settings import ConfigureSettings, HardwareSettings, TokenizeSettings
    from retune.sources.builtin_corpus import read_corpus
    from retune.steps import configure, tokenize

    texts = read_corpus()["text"]
    lines = [line.strip() for text in texts for line in text.splitlines()]
    lines = sorted({line for line in lines if line})
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(lines, VOCABULARY, special_tokens=["<|end|>"])
    PreTrainedTokenizerFast(
        tokenizer_object=bpe._tokenizer, bos_token="<|end|>", eos_token="<|end|>"
    ).save_pretrained(folder / "base")
    config = AutoConfig.for_model(
        setup.model_type, bos_token_id=0, eos_token_id=0, **setup.config
    )
    torch.manual_seed(SEED)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder / "base")
    find_model_facts(folder / "base").write(folder / "base")
    write_manifest(folder / "base")

    encoded = bpe._tokenizer.encode_batch(lines)
    pairs = zip(lines, encoded, strict=True)
    lines = [line for line, tokens in pairs if len(tokens.ids) in LINE_TOKENS]
    frame = pl.DataFrame({"id": lines, "group": lines, "text": lines})
    frame = frame.sample(fraction=1, shuffle=True, seed=SEED)
    (folder / "clean").mkdir()
    held_out = 200 * setup.sequence_length // 512
    parts = {
        "train": frame[2 * held_out :],
        "validation": frame[:held_out],
        "test": frame[held_out : 2 * held_out],
    }
    for split, part in parts.items():
        part.write_parquet(folder / f"clean/{split}.parquet")
    write_manifest(folder / "clean")
    tokenize.run(
        TokenizeSettings(sequence_length=setup.sequence_length),
        *(folder / "clean", folder / "base", folder / "tokens"),
        folder / "tokens.json",
    )
    precision = "fp32" if setup.accelerator == "cpu" else "bf16"
    configure.run(
        ConfigureSettings(**setup.batch, precision=precision, zero_stage=1),
        HardwareSettings(accelerator=setup.accelerator, ranks_per_node=setup.ranks),
        *(folder / "base", folder / "tokens.json", folder / "plan"),
    )
