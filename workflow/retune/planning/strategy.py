"""The training strategy: each value of the plan, with the reason for it.

`choose_micro_batch_size` and `choose_zero_stage` are rules of thumb, and say so.
"""

from importlib.util import find_spec
from typing import Literal

from retune.artifacts.model_facts import ModelFacts
from retune.artifacts.plan import Decision, Plan, PlanValue
from retune.errors import RetuneError
from retune.planning.compiling import choose_torch_compile
from retune.planning.hardware import Hardware
from retune.planning.liger import choose_liger_kernel
from retune.planning.memory import model_states_bytes
from retune.planning.optim import choose_optim
from retune.settings import (
    ActivationCheckpointing,
    ConfigureSettings,
    Offload,
    Precision,
    cpu_kernel_problems,
    default_of,
    fp16_problems,
    split_problems,
    strategy_problems,
)
from retune.units import GB

SET = "set in params.yaml"
# Tokens per rank and forward pass that `micro_batch_size: auto` does not exceed.
TOKENS_PER_PASS = {"cpu": 2048, "cuda": 8192}
# Fraction of a GPU's memory that model states may take before ZeRO-3 is chosen.
MODEL_STATES_FRACTION = 0.6
UNKNOWN_MEMORY = "; whether that fits is not known without hardware.gpu_memory_gb"


def make_plan(
    settings: ConfigureSettings,
    hardware: Hardware,
    facts: ModelFacts,
    sequence_length: int,
    train_blocks: int,
    num_adapter_parameters: int = 0,
    num_4bit_parameters: int = 0,
    num_8bit_moments: int = 0,
) -> tuple[Plan, list[Decision[PlanValue]]]:
    """Return the plan, and each value of the strategy with the reason for it.

    Args:
        settings: The `configure` section.
        hardware: The machines.
        facts: Facts of the model.
        sequence_length: Tokens per training sequence.
        train_blocks: Number of training sequences.
        num_adapter_parameters: Number of parameters of the adapters that are trained
            instead of the model; 0: there are none.
        num_4bit_parameters: Number of parameters of the model that are held in 4 bits.
        num_8bit_moments: Number of trained parameters whose moments have 8 bits with
            `optim: adamw_8bit`.

    Raises:
        RetuneError: If settings and machines do not go together.
    """
    precision = choose_precision(settings, hardware)
    stages = settings.pipeline_stages
    data_parallel_size = max(1, hardware.world_size // stages)
    micro = choose_micro_batch_size(
        settings, hardware, data_parallel_size, sequence_length
    )
    accumulation = Decision(
        "gradient_accumulation_steps",
        settings.global_batch_size // (micro.value * data_parallel_size),
        f"{settings.global_batch_size} sequences = {micro.value} per rank x"
        f" {data_parallel_size} {'ranks' if stages == 1 else 'pipelines'} x this",
    )
    attention = choose_attention(settings, hardware, precision.value, facts)
    chunked = choose_chunked_cross_entropy(settings, precision.value, facts)
    num_trained = num_adapter_parameters or facts.num_parameters
    optimizer_device = choose_offload(settings, hardware, "offload_optimizer")
    parameter_device = choose_offload(settings, hardware, "offload_param")
    checkpointing = choose_activation_checkpointing(settings, hardware)
    optim = choose_optim(settings, hardware.accelerator, num_8bit_moments, num_trained)
    draft = Plan(
        precision=precision.value,
        zero_stage=2,
        optim=optim.value,
        bf16_optimizer_states=settings.bf16_optimizer_states,
        offload_optimizer=optimizer_device.value,
        offload_param=parameter_device.value,
        global_batch_size=settings.global_batch_size,
        micro_batch_size=micro.value,
        gradient_accumulation_steps=accumulation.value,
        pipeline_stages=stages,
        activation_checkpointing=checkpointing.value,
        activation_checkpointing_interval=settings.activation_checkpointing_interval,
        torch_compile=False,
        use_liger_kernel=settings.use_liger_kernel is True,
        attn_implementation=attention.value,
        chunked_cross_entropy=chunked.value,
        gradient_clipping=settings.gradient_clipping,
        accelerator=hardware.accelerator,
        nodes=hardware.nodes,
        ranks_per_node=hardware.ranks_per_node,
        sequence_length=sequence_length,
        num_parameters=facts.num_parameters,
        num_adapter_parameters=num_adapter_parameters,
        num_4bit_parameters=num_4bit_parameters,
        num_8bit_moments=num_8bit_moments,
    )
    refuse(
        split_problems(draft, draft.world_size)
        + fp16_problems(draft.accelerator, draft.precision)
        + cpu_kernel_problems(draft.accelerator, draft)
    )
    stage = choose_zero_stage(settings, hardware, draft)
    plan = draft.model_copy(update={"zero_stage": stage.value})
    compiled = choose_torch_compile(settings, plan, train_blocks)
    plan = plan.model_copy(update={"torch_compile": compiled.value})
    liger = choose_liger_kernel(settings, plan, facts)
    plan = plan.model_copy(update={"use_liger_kernel": liger.value})
    refuse(strategy_problems(plan))
    return plan, [
        precision,
        stage,
        optim,
        tell_bf16_states(settings),
        optimizer_device,
        parameter_device,
        from_settings(settings, "global_batch_size"),
        micro,
        accumulation,
        from_settings(settings, "pipeline_stages"),
        checkpointing,
        from_settings(settings, "activation_checkpointing_interval"),
        compiled,
        liger,
        attention,
        chunked,
        from_settings(settings, "gradient_clipping"),
    ]


def refuse(problems: list[str]) -> None:
    """Raise RetuneError if there are problems."""
    if problems:
        raise RetuneError("\n".join(problems))


def from_settings(settings: ConfigureSettings, key: str) -> Decision[PlanValue]:
    """Return a value that the settings give."""
    value: PlanValue = getattr(settings, key)
    return Decision(
        key, value, "the default" if value == default_of(settings, key) else SET
    )


def choose_offload(
    settings: ConfigureSettings,
    hardware: Hardware,
    key: Literal["offload_optimizer", "offload_param"],
) -> Decision[Offload]:
    """Return where the optimizer or the parameters are: with the rank, if left open."""
    value = getattr(settings, key)
    if value != "auto":
        return Decision(key, value, SET)
    why = "nothing is offloaded unasked"
    return Decision(key, "none", why + unknown_memory(hardware))


def choose_activation_checkpointing(
    settings: ConfigureSettings, hardware: Hardware
) -> Decision[ActivationCheckpointing]:
    """Return whether activations are computed again: unasked they are not."""
    key = "activation_checkpointing"
    if settings.activation_checkpointing != "auto":
        return Decision(key, settings.activation_checkpointing, SET)
    interval = settings.activation_checkpointing_interval
    if interval > 1:
        why = f"activation_checkpointing_interval: {interval} asks for it"
        return Decision(key, True, why)
    why = "computing them again takes about a third more time"
    return Decision(key, False, why + unknown_memory(hardware))


def unknown_memory(hardware: Hardware) -> str:
    """Return that nobody knows what fits, where that is so."""
    is_unknown = hardware.accelerator == "cuda" and hardware.gpu_memory_gb is None
    return UNKNOWN_MEMORY if is_unknown else ""


def tell_bf16_states(settings: ConfigureSettings) -> Decision[bool]:
    """Return whether the optimizer keeps its states in bf16, and what that costs."""
    if not settings.bf16_optimizer_states:
        return Decision("bf16_optimizer_states", False, "the default")
    return Decision(
        "bf16_optimizer_states",
        True,
        f"{SET}; DeepSpeed measured a mean loss of 2.90 where it was 2.78, steps 7 %"
        " longer and a peak of 18.9 GB instead of 31.4. A step changes a weight only if"
        " it is above 1/512 of it: most weights of 0.02 stay as they are at a learning"
        " rate of 0.00001",
    )


def choose_precision(
    settings: ConfigureSettings, hardware: Hardware
) -> Decision[Precision]:
    """Return fp32, bf16 or fp16."""
    key = "precision"
    if settings.precision != "auto":
        return Decision(key, settings.precision, SET)
    if hardware.accelerator == "cpu":
        why = "most CPUs compute fp32 two to three times faster than bf16"
        return Decision(key, "fp32", why)
    if not hardware.has_bf16:
        return Decision(key, "fp32", "this GPU only emulates bf16")
    return Decision(key, "bf16", "GPUs since Ampere compute it at full speed")


def choose_attention(
    settings: ConfigureSettings,
    hardware: Hardware,
    precision: Precision,
    facts: ModelFacts,
) -> Decision[str]:
    """Return the attention kernels: those that compute each document by itself.

    Raises:
        RetuneError: If these are set and do not compute the model's family.
    """
    key = "attn_implementation"
    if settings.attn_implementation == "varlen" and not facts.has_varlen:
        raise RetuneError(
            f"configure.{key}: varlen was not seen to compute {facts.model_type} models"
            " as transformers does; write auto"
        )
    if settings.attn_implementation != "auto":
        return Decision(key, settings.attn_implementation, SET)
    has_kernels = hardware.accelerator == "cuda" and precision != "fp32"
    if has_kernels and facts.caps_attention and find_spec("flash_attn"):
        why = "flash-attn caps scores as this model does; PyTorch has no kernel for it"
        return Decision(key, "flash_attention_2", why)
    if facts.has_varlen:
        how = "in plain operations" if facts.caps_attention else "by PyTorch's kernels"
        return Decision(key, "varlen", f"each packed document by itself, {how}")
    other = f"varlen was not seen to compute {facts.model_type} models"
    if hardware.accelerator == "cpu":
        return Decision(key, "sdpa", f"PyTorch's own kernels; {other}")
    if precision == "fp32":
        why = "flash attention computes in bf16 and fp16 only"
        return Decision(key, "sdpa", f"{why}; {other}")
    if find_spec("flash_attn") is None:
        return Decision(key, "sdpa", f"flash-attn is not installed here; {other}")
    return Decision(key, "flash_attention_2", f"flash-attn is installed; {other}")


def choose_chunked_cross_entropy(
    settings: ConfigureSettings, precision: Precision, facts: ModelFacts
) -> Decision[bool]:
    """Return whether logits and loss are computed some tokens at a time.

    Raises:
        RetuneError: If that is set and not possible.
    """
    key = "chunked_cross_entropy"
    problem = ""
    if facts.output_head is None:
        problem = "the model's output head is no plain linear layer, or has adapters"
    elif precision == "fp16":
        # They would overflow before DeepSpeed's loss scale can help.
        problem = "in fp16 gradients have to be scaled before they are computed"
    if settings.chunked_cross_entropy is True and problem:
        raise RetuneError(f"configure.{key}: true, but {problem}; write auto")
    if settings.chunked_cross_entropy != "auto":
        return Decision(key, settings.chunked_cross_entropy, SET)
    why = "the logits of a whole micro-batch are never in memory"
    return Decision(key, not problem, problem or why)


def choose_micro_batch_size(
    settings: ConfigureSettings,
    hardware: Hardware,
    data_parallel_size: int,
    sequence_length: int,
) -> Decision[int]:
    """Return the largest micro batch within TOKENS_PER_PASS that divides the batch.

    Args:
        settings: The `configure` section.
        hardware: The machines.
        data_parallel_size: Number of ranks, or pipelines, that divide a batch.
        sequence_length: Tokens per training sequence.
    """
    key = "micro_batch_size"
    if settings.micro_batch_size != "auto":
        return Decision(key, settings.micro_batch_size, SET)
    per_rank = max(1, settings.global_batch_size // data_parallel_size)
    tokens = TOKENS_PER_PASS[hardware.accelerator]
    most = max(1, tokens // sequence_length)
    sizes = range(1, min(per_rank, most) + 1)
    return Decision(
        key,
        max(size for size in sizes if per_rank % size == 0),
        f"rule of thumb: at most {tokens:,} tokens per rank and pass on"
        f" {hardware.accelerator}",
    )


def choose_zero_stage(
    settings: ConfigureSettings, hardware: Hardware, draft: Plan
) -> Decision[int]:
    """Return stage 2 where the model states fit beside activations, else 3.

    Args:
        settings: The `configure` section.
        hardware: The machines.
        draft: The plan with stage 2.
    """
    key = "zero_stage"
    if settings.zero_stage != "auto":
        return Decision(key, settings.zero_stage, SET)
    if settings.pipeline_stages > 1:
        return Decision(key, 1, "goes with pipeline_stages")
    is_offloaded = settings.offload_param not in ("auto", "none")
    if is_offloaded or settings.offload_optimizer == "nvme":
        return Decision(key, 3, "what is offloaded needs it")
    needed_gb = model_states_bytes(draft) / GB
    if draft.num_4bit_parameters:
        why = f"weights in 4 bits cannot be sharded: {needed_gb:.2f} GB a rank"
        return Decision(key, 2, why)
    if hardware.gpu_memory_gb is None or hardware.accelerator == "cpu":
        why = f"shards gradients and optimizer states: {needed_gb:.2f} GB a rank"
        is_known = hardware.accelerator == "cpu"
        return Decision(key, 2, why if is_known else why + UNKNOWN_MEMORY)
    most_gb = MODEL_STATES_FRACTION * hardware.gpu_memory_gb
    if needed_gb <= most_gb:
        why = f"model states take {needed_gb:.1f} of {most_gb:.1f} GB set aside"
        return Decision(key, 2, why)
    if draft.data_parallel_size == 1:
        why = f"model states take {needed_gb:.1f} GB, and one rank can shard nothing"
        return Decision(key, 2, why)
    return Decision(
        key,
        3,
        f"at stage 2 model states would take {needed_gb:.1f} GB, more than the"
        f" {most_gb:.1f} GB set aside",
    )
