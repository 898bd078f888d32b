"""Trainings whose speed others have published, as settings of `retune`."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

# Name of a source -> where it says so.
SOURCES = {
    "retune": "gpu.md",
    "KempnerForge": "KempnerInstitute/KempnerForge,"
    " benchmarks/mfu_scaling/mfu_scaling_2026-04-05.md",
    "torchtitan": "pytorch/torchtitan, benchmarks/llama3_h100_202412_torchtitan.md;"
    " of A100: docs/performance.md in 2024",
    "fms-fsdp": "foundation-model-stack/fms-fsdp, README.md",
    "NeMo": "NVIDIA NeMo AutoModel, performance summary",
    "GPT-Simple": "lb-off/gpt-simple, performance page",
    "chenyaofo": "gist d4cd6a20ab4b95cb3a49491747e2139a of chenyaofo",
}


def llama(hidden: int, inner: int, layers: int, heads: int, **other: Any) -> Any:
    """Return the config of a Llama without grouped heads, with what is different."""
    return {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "vocab_size": 32_000,
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": heads,
        "max_position_embeddings": 131_072,
        **other,
    }


LLAMA_3 = {"vocab_size": 128_256, "num_key_value_heads": 8}
MODELS = {
    "Llama 3 8B": llama(4096, 14_336, 32, 32, **LLAMA_3),
    "Llama 3 13B": llama(5120, 17_920, 40, 40, **LLAMA_3),
    "Llama 2 7B": llama(4096, 11_008, 32, 32),
    "Llama 3.2 1B": llama(2048, 8192, 16, 32, **LLAMA_3, tie_word_embeddings=True),
    "Llama 2.8B": llama(2560, 6912, 34, 20, tie_word_embeddings=True),
    "Qwen2.5 7B": llama(3584, 18_944, 28, 28, vocab_size=152_064)
    | {"num_key_value_heads": 4}
    | {"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"]},
}


@dataclass(frozen=True)
class Published:
    """A training that somebody has measured.

    Attributes:
        model: Of MODELS.
        length: Tokens of a sequence.
        micro_batch: Sequences of a micro-batch.
        passes: Micro-batches of a step.
        tokens: Tokens that each GPU trained on in a second.
        source: Of SOURCES.
        hardware: What differs from one GPU.
        strategy: Settings of `configure`.
        lora: Whether adapters are trained, of rank 8 in all linear layers.
        peak_gb: What PyTorch's tensors took at most of a GPU, GB; None where it is not
            known or where parts of it were trained in other precisions.
    """

    model: str
    length: int
    micro_batch: int
    passes: int
    tokens: float
    source: str
    hardware: dict[str, Any]
    strategy: dict[str, Any] = field(default_factory=dict)
    lora: bool = False
    peak_gb: float | None = None


def gpus(name: str, number: int = 1, nodes: int = 1, **other: Any) -> dict[str, Any]:
    """Return so many GPUs on each of some nodes."""
    return {"gpu_name": name, "ranks_per_node": number, "nodes": nodes, **other}


Z3 = {"zero_stage": 3}
FULL = {"activation_checkpointing": True}
COMPILED = {"torch_compile": True}
SELECTIVE = {"activation_checkpointing": "selective"}
# As much is kept, and compiled layers have no operations to select.
EVERY_SECOND = {**FULL, **COMPILED, "activation_checkpointing_interval": 2}
LIGER = {"use_liger_kernel": True, "chunked_cross_entropy": True}


def published_trainings() -> Iterator[Published]:
    """Yield the trainings; FSDP, which shards weights, is taken for ZeRO-3."""
    yield Published("Llama 3.2 1B", 2048, 4, 4, 60_112, "retune", gpus("H200"), LIGER)
    h200 = {n: gpus("H200", n) for n in (1, 2, 4)}
    forge = {**FULL, **COMPILED}
    eight, long = "Llama 3 8B", 8192
    yield Published(eight, 4096, 4, 2, 10_471, "KempnerForge", h200[1], forge)
    yield Published(eight, 4096, 4, 2, 9_364, "KempnerForge", h200[2], Z3 | forge)
    yield Published(eight, 4096, 4, 2, 9_746, "KempnerForge", h200[4], Z3 | forge)
    # The network of each GPU there is not named: 400 Gbit/s are usual.
    two = gpus("H200", 4, 2, network_gb_per_s=200)
    yield Published("Llama 3 13B", 4096, 4, 4, 4_426, "KempnerForge", two, Z3 | FULL)
    h100, a100 = gpus("H100", 8), gpus("A100", 8, 8, network_gb_per_s=50)
    yield Published(eight, long, 2, 1, 5_762, "torchtitan", h100, Z3 | SELECTIVE)
    yield Published(eight, long, 2, 1, 6_667, "torchtitan", h100, Z3 | EVERY_SECOND)
    yield Published(eight, long, 1, 1, 2_973, "torchtitan", a100, Z3 | SELECTIVE)
    fms = gpus("A100", 8, 16, network_gb_per_s=50)
    yield Published("Llama 2 7B", 4096, 2, 1, 3_700, "fms-fsdp", fms, Z3 | COMPILED)
    fms = gpus("H100", 8, 12, network_gb_per_s=100)
    yield Published("Llama 2 7B", 4096, 2, 1, 7_500, "fms-fsdp", fms, Z3 | COMPILED)
    lone = gpus("H100")
    yield Published(eight, 4096, 2, 16, 12_473, "NeMo", lone, LIGER, lora=True)
    yield Published("Qwen2.5 7B", 4096, 2, 16, 14_110, "NeMo", lone, LIGER, lora=True)
    own = {**FULL, **COMPILED}
    yield Published("Llama 2.8B", 2048, 4, 8, 8_100, "GPT-Simple", gpus("A100", 8), own)
    yield from a800()


def a800() -> Iterator[Published]:
    """Yield trainings by DeepSpeed on 8 A800, A100s with two thirds of the links.

    The table gives sequences per second of all GPUs, memory by PyTorch's counters, and
    64 or 128 sequences a step. A GiB is taken for its GB.
    """
    machine = gpus("A100", 8, link_gb_per_s=200, cpu_memory_gb=1000)
    both = {"offload_optimizer": "cpu", "offload_param": "cpu"}
    rows: list[tuple[int, dict[str, Any], int, int, float, float]] = [
        (2, {}, 1, 64, 44.8, 5.33),
        (2, FULL, 1, 64, 23.5, 4.19),
        (2, FULL | {"offload_optimizer": "cpu"}, 1, 64, 16.9, 1.81),
        (2, FULL, 4, 64, 38.6, 4.69),
        (3, {}, 2, 64, 75.7, 4.95),
        (3, FULL, 2, 64, 20.4, 4.45),
        (3, FULL | {"offload_optimizer": "cpu"}, 2, 64, 9.4, 2.05),
        (3, FULL | both, 4, 64, 7.9, 2.06),
        (3, FULL, 8, 64, 39.1, 4.73),
        (3, FULL, 8, 128, 63.9, 4.32),
    ]
    for stage, other, size, batch, peak, sequences in rows:
        yield Published(
            "Llama 2 7B",
            4096,
            size,
            batch // (8 * size),
            sequences * 4096 / 8,
            "chenyaofo",
            machine,
            {"zero_stage": stage, **other},
            peak_gb=peak * 2**30 / 1e9,
        )
