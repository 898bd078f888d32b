"""Models and plans whose gradients with Liger's kernels are compared to those without.

Imports nothing of Triton, so that tests can name the cells.
"""

from dataclasses import dataclass, field
from typing import Any

from model_families import FAMILIES, GROUPED

WITH_HEAD_DIM = {**GROUPED, "head_dim": 8}
HALF_ROTARY = {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5}
# What is not among the families of all tests.
OTHERS = {
    "exaone4": ("Exaone4", GROUPED),
    "gemma": ("Gemma", WITH_HEAD_DIM),
    "glm4": ("Glm4", WITH_HEAD_DIM),
    "granite": ("Granite", GROUPED),
    "hunyuan_v1_dense": ("HunYuanDenseV1", WITH_HEAD_DIM),
    "ministral": ("Ministral", WITH_HEAD_DIM),
    "olmo2": ("Olmo2", GROUPED),
    "olmo3": ("Olmo3", GROUPED),
    "smollm3": ("SmolLM3", GROUPED),
}


@dataclass(frozen=True)
class Cell:
    """One comparison.

    Attributes:
        family: Name of a family.
        config: Values of its config that are otherwise.
        plan: Values of the plan that are otherwise.
        has_adapters: Whether adapters are trained.
    """

    family: str
    config: dict[str, Any] = field(default_factory=dict)
    plan: dict[str, Any] = field(default_factory=dict)
    has_adapters: bool = False


CELLS = {
    **{name: Cell(name) for name in [*FAMILIES, *OTHERS] if not name.startswith("gpt")},
    "llama, biases": Cell("llama", {"mlp_bias": True, "attention_bias": True}),
    "phi3, half rotary": Cell("phi3", {"rope_parameters": HALF_ROTARY}),
    "llama, eager": Cell("llama", plan={"attn_implementation": "eager"}),
    "llama, all logits": Cell("llama", plan={"chunked_cross_entropy": False}),
    "llama, LoRA": Cell("llama", has_adapters=True),
    "llama, checkpointing": Cell("llama", plan={"activation_checkpointing": True}),
    "llama, checkpointing and LoRA": Cell(
        "llama", plan={"activation_checkpointing": True}, has_adapters=True
    ),
    "gemma2, checkpointing": Cell("gemma2", plan={"activation_checkpointing": True}),
}
# In 16 bits, which Triton's interpreter has as fp16 only.
FP16 = {"precision": "fp16", "chunked_cross_entropy": False}
HALVES = {f"{name}, fp16": Cell(name, plan=FP16) for name in ("gemma2", "llama")}
# What `configure` refuses, and why.
REFUSED = {
    "llama, selective": Cell("llama", plan={"activation_checkpointing": "selective"}),
    "llama, gelu": Cell("llama", {"hidden_act": "gelu"}),
    "gemma2, gelu": Cell("gemma2", {"hidden_activation": "gelu"}),
}
