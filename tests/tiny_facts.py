"""The facts and the shape of a model, of which tests need nothing else."""

from pathlib import Path
from typing import Any

from retune.artifacts.model_facts import ModelFacts, OutputHead
from retune.artifacts.publishing import write_json, write_manifest


def tiny_facts(**changed: Any) -> ModelFacts:
    """Return the facts of a GPT-2 of 300 words; `changed` says what is otherwise."""
    facts = {
        "model_type": "gpt2",
        "architecture": "GPT2LMHeadModel",
        "num_parameters": 1000,
        "num_layers": 2,
        "vocab_size": 300,
        "context_length": 32,
        "batch_invariant_length": None,
        "dtype": "float32",
        "bos_token_id": 0,
        "eos_token_id": 0,
        "end_token_ids": [0],
        "weights": [],
        "output_head": OutputHead(),
        "has_varlen": True,
    }
    return ModelFacts(**{**facts, **changed})


def write_tiny_base(folder: Path, **config: Any) -> None:
    """Write a base model without weights: all that `configure` reads of one.

    Args:
        folder: Folder to make.
        config: What is otherwise in its config.json.
    """
    folder.mkdir()
    tiny_facts().write(folder)
    shape = {"vocab_size": 300, "n_embd": 16, "n_layer": 2, "n_head": 2}
    write_json(folder / "config.json", {"model_type": "gpt2", **shape, **config})
    write_manifest(folder)
