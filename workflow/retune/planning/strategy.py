"""The strategy of a training: each value with the reason for it.

This is where a memory model belongs: `choose_micro_batch_size` and
`choose_zero_stage` are rules of thumb, and say so in the plan.
"""

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from retune.errors import RetuneError
from retune.model_states import GB, adds_up_in_fp32, model_states_bytes
from retune.planning.hardware import Hardware
from retune.settings import (
    ConfigureSettings,
    default_of,
    fp16_problems,
    split_problems,
)

# Tokens per rank and forward pass that `micro_batch_size: auto` does not exceed.
TOKENS_PER_PASS = {"cpu": 2048, "cuda": 8192}
UNKNOWN_MEMORY = "; whether that fits is not known without hardware.gpu_memory_gb"
# Share of a GPU's memory that model states may take before ZeRO-3 is chosen.
SHARE_FOR_STATES = 0.6


@dataclass(frozen=True)
class Decision:
    """One resolved value and the reason for it."""

    setting: str
    value: Any
    why: str


def decide(
    settings: ConfigureSettings,
    hardware: Hardware,
    num_parameters: int,
    sequence_length: int,
) -> list[Decision]:
    """Return every value of the strategy, each with its reason."""
    precision = choose_precision(settings, hardware)
    stages = settings.pipeline_stages
    shares = max(1, hardware.world_size // stages)
    micro = choose_micro_batch_size(settings, hardware, shares, sequence_length)
    problems = split_problems(settings, hardware.world_size, micro.value, micro.value)
    problems += fp16_problems(hardware.accelerator, precision.value)
    if problems:
        raise RetuneError("\n".join(problems))
    accumulation_steps = settings.global_batch_size // (micro.value * shares)
    stage = choose_zero_stage(
        settings, hardware, num_parameters, precision.value, accumulation_steps
    )
    if stage.value == 0 and precision.value != "fp32":
        raise RetuneError(
            f"configure.zero_stage: 0 with precision {precision.value} takes one Adam"
            " step too many in DeepSpeed 0.19: use 1, or precision: fp32"
        )
    return [
        precision,
        stage,
        given(settings, "offload_optimizer"),
        given(settings, "offload_param"),
        given(settings, "global_batch_size"),
        micro,
        Decision(
            "gradient_accumulation_steps",
            accumulation_steps,
            f"{settings.global_batch_size} sequences = {micro.value} per rank x"
            f" {shares} {'ranks' if stages == 1 else 'pipelines'} x this",
        ),
        given(settings, "pipeline_stages"),
        given(settings, "activation_checkpointing"),
        choose_attention(settings, hardware, precision.value),
        given(settings, "gradient_clipping"),
    ]


def given(settings: ConfigureSettings, key: str) -> Decision:
    """Return a value that nobody had to choose."""
    value = getattr(settings, key)
    is_default = value == default_of(settings, key)
    return Decision(key, value, "the default" if is_default else "set in params.yaml")


def choose_precision(settings: ConfigureSettings, hardware: Hardware) -> Decision:
    """Return fp32, bf16 or fp16."""
    if settings.precision != "auto":
        return Decision("precision", settings.precision, "set in params.yaml")
    if hardware.accelerator == "cpu":
        return Decision(
            "precision",
            "fp32",
            "most CPUs compute fp32 two to three times faster than bf16",
        )
    if not hardware.has_bf16:
        return Decision("precision", "fp32", "this GPU only emulates bf16")
    return Decision("precision", "bf16", "GPUs since Ampere compute it at full speed")


def choose_attention(
    settings: ConfigureSettings, hardware: Hardware, precision: str
) -> Decision:
    """Return the attention kernels: flash where it is installed and can be used."""
    key = "attn_implementation"
    if settings.attn_implementation != "auto":
        return Decision(key, settings.attn_implementation, "set in params.yaml")
    if hardware.accelerator == "cpu":
        return Decision(key, "sdpa", "PyTorch's own kernels")
    if precision == "fp32":
        return Decision(key, "sdpa", "flash attention computes in bf16 and fp16 only")
    if find_spec("flash_attn") is None:
        return Decision(key, "sdpa", "flash-attn is not installed here")
    return Decision(key, "flash_attention_2", "flash-attn is installed")


def choose_micro_batch_size(
    settings: ConfigureSettings,
    hardware: Hardware,
    shares: int,
    sequence_length: int,
) -> Decision:
    """Return the largest divisor of one of `shares` within TOKENS_PER_PASS."""
    if settings.micro_batch_size != "auto":
        return Decision(
            "micro_batch_size", settings.micro_batch_size, "set in params.yaml"
        )
    share = max(1, settings.global_batch_size // shares)
    budget = TOKENS_PER_PASS[hardware.accelerator]
    most = max(1, budget // sequence_length)
    micro = max(size for size in range(1, min(share, most) + 1) if share % size == 0)
    return Decision(
        "micro_batch_size",
        micro,
        f"rule of thumb: at most {budget:,} tokens per rank and pass on"
        f" {hardware.accelerator}",
    )


def choose_zero_stage(
    settings: ConfigureSettings,
    hardware: Hardware,
    num_parameters: int,
    precision: str,
    accumulation_steps: int,
) -> Decision:
    """Return stage 2 where the model states fit beside activations, else 3."""
    if settings.zero_stage != "auto":
        return Decision("zero_stage", settings.zero_stage, "set in params.yaml")
    if settings.pipeline_stages > 1:
        return Decision("zero_stage", 1, "goes with pipeline_stages")
    if settings.offload_param != "none" or settings.offload_optimizer == "nvme":
        return Decision("zero_stage", 3, "what is offloaded needs it")
    in_fp32 = adds_up_in_fp32(
        precision, 2, accumulation_steps, settings.offload_optimizer
    )
    needed = (
        model_states_bytes(
            *(num_parameters, precision, 2, hardware.world_size),
            offloaded=offloaded_parts(settings, hardware),
            gradients_in_fp32=in_fp32,
        )
        / GB
    )
    if hardware.gpu_memory_gb is None or hardware.accelerator == "cpu":
        return Decision(
            "zero_stage",
            2,
            f"shards gradients and optimizer states: {needed:.2f} GB a rank"
            + ("" if hardware.accelerator == "cpu" else UNKNOWN_MEMORY),
        )
    room = SHARE_FOR_STATES * hardware.gpu_memory_gb
    if needed <= room:
        return Decision(
            "zero_stage",
            2,
            f"model states take {needed:.1f} of {room:.1f} GB set aside",
        )
    return Decision(
        "zero_stage",
        3,
        f"at stage 2 model states would take {needed:.1f} GB, more than the"
        f" {room:.1f} GB set aside",
    )


def offloaded_parts(settings: ConfigureSettings, hardware: Hardware) -> tuple[str, ...]:
    """Return what is not in a rank's own memory; on CPU ranks it all is."""
    if hardware.accelerator == "cpu":
        return ()
    keys = {"optimizer": settings.offload_optimizer, "param": settings.offload_param}
    return tuple(key for key, where in keys.items() if where != "none")
