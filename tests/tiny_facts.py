"""The facts of a model of which tests need nothing else."""

from typing import Any

from retune.artifacts.model_facts import ModelFacts, OutputHead


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
