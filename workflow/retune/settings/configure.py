"""The section `configure`: the training strategy."""

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, JsonValue

from retune.settings.section import Auto, Count, Settings

Offload = Literal["none", "cpu", "nvme"]
Precision = Literal["fp32", "bf16", "fp16"]
Optim = Literal["adamw", "adamw_8bit"]
ActivationCheckpointing = bool | Literal["selective"]

# As in 2e8, which YAML 1.1 takes for a text.
SCIENTIFIC = re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+")


def spelled_once(value: Any) -> Any:
    """Return a value of JSON in which equal numbers are spelled alike.

    Whole ones become integers, and a text such as 2e8 becomes the number it is.
    """
    if isinstance(value, dict):
        return {key: spelled_once(item) for key, item in value.items()}
    if isinstance(value, list):
        return [spelled_once(item) for item in value]
    if isinstance(value, str) and SCIENTIFIC.fullmatch(value):
        value = float(value)
    return int(value) if isinstance(value, float) and value % 1 == 0 else value


def overrides_of(value: Any) -> Any:
    """Return what a section holds; nothing if all of it is commented out."""
    return {} if value is None else spelled_once(value)


Overrides = Annotated[dict[str, JsonValue], BeforeValidator(overrides_of)]


class ConfigureSettings(Settings):
    """What `configure` writes into the DeepSpeed config; `auto` lets it decide."""

    global_batch_size: int = Field(
        16, ge=1, description="Sequences per optimizer step, over all ranks."
    )
    micro_batch_size: Count | Auto = Field(
        "auto", description="Sequences per rank and forward pass."
    )
    precision: Literal["auto", Precision] = Field(
        "auto",
        description="`auto`: bf16 where the hardware computes it fast, else fp32.",
    )
    zero_stage: Literal["auto", 0, 1, 2, 3] = Field(
        "auto", description="DeepSpeed ZeRO stage."
    )
    optim: Optim = Field(
        "adamw",
        description="The optimizer. `adamw_8bit`: AdamW with the moments of large"
        " matrices, but for embeddings, in 8 bits: 2 bytes per parameter instead of 8;"
        " needs bitsandbytes.",
    )
    bf16_optimizer_states: bool = Field(
        False,
        description="With `precision: bf16`: keep master weights and Adam's moments in"
        " bf16, too. Half the memory, and small updates are lost to rounding.",
    )
    offload_optimizer: Offload | Auto = Field(
        "auto",
        description="Keep optimizer states in CPU memory, or under"
        " `hardware.nvme_path` (`nvme`: ZeRO-3 only).",
    )
    offload_param: Offload | Auto = Field(
        "auto",
        description="Keep parameters in CPU memory, or under `hardware.nvme_path`"
        " (ZeRO-3 only).",
    )
    pipeline_stages: int = Field(
        1,
        ge=1,
        description="Cut the model into this many stages, a rank each, with ZeRO-1;"
        " 1: no pipeline. GPT-2, Llama, Mistral and Qwen models.",
    )
    activation_checkpointing: ActivationCheckpointing | Auto = Field(
        "auto",
        description="Compute activations again for the gradient: less memory, slower."
        " `selective`: but for products with weights and attention, which are kept.",
    )
    activation_checkpointing_interval: int = Field(
        1,
        ge=1,
        description="Do that in one decoder layer of so many.",
    )
    torch_compile: bool | Auto = Field(
        "auto",
        description="Compile each decoder layer with torch.compile: a minute or two at"
        " the start for faster steps. `auto`: on GPUs where a pass over the data is"
        " long, below ZeRO-3.",
    )
    use_liger_kernel: bool | Auto = Field(
        "auto",
        description="Liger's Triton kernels for normalisation, rotary embedding and"
        " gated MLP, on GPUs. `auto`: for dense models of the families that"
        " docs/training.md lists, where liger-kernel is installed and layers are"
        " neither compiled nor checkpointed selectively.",
    )
    attn_implementation: Literal[
        "auto", "varlen", "sdpa", "flash_attention_2", "flex_attention", "eager"
    ] = Field(
        "auto",
        description="Attention kernels, as transformers names them; `varlen` computes"
        " each packed document by itself, with PyTorch's flash attention where it can:"
        " on GPUs since Ampere, in bf16 or fp16, without dropout of attention weights."
        " `auto`: `varlen` for the families that it computes exactly; for others, and"
        " for those that cap scores, `flash_attention_2` on GPUs where it is"
        " installed; else `sdpa`.",
    )
    chunked_cross_entropy: bool | Auto = Field(
        "auto",
        description="Compute logits and loss some tokens at a time, so that the logits"
        " of a whole micro-batch are never in memory; `auto`: but for fp16, and for"
        " output heads that are no plain linear layer or have adapters.",
    )
    gradient_clipping: float = Field(
        1.0, ge=0, description="Largest norm of the gradient; 0 does not clip."
    )
    deepspeed_config: str | None = Field(
        None,
        min_length=1,
        description="A DeepSpeed config of yours, a JSON file: what it says is trained"
        ' by, `"auto"` and the rest are filled in (docs/deepspeed-config.md).',
    )
    overrides: Overrides = Field(
        {},
        description="Keys of DeepSpeed's config, nested as there, over all others:"
        " `{zero_optimization: {reduce_bucket_size: 2e8}}`.",
    )
