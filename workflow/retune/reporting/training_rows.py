"""A training as rows of plain text: batch, optimizer, hardware, speed, losses."""

from retune.artifacts.plan import Plan
from retune.quantities import counted, duration, percent
from retune.reporting.evaluation_rows import Row
from retune.reporting.plan_rows import hardware_text
from retune.reporting.run_results import RunResults
from retune.settings import FinetuneSettings, LoraSettings


def training_rows(run: RunResults, utilisation: float | None) -> list[Row]:
    """Return name and value of everything that says how the training was.

    Args:
        run: The run.
        utilisation: Fraction of its GPUs' peak FLOP/s that the training used, if that
            is to be shown.
    """
    return [*method_rows(run), *result_rows(run, utilisation)]


def method_rows(run: RunResults) -> list[Row]:
    """Return name and value of how the model was trained."""
    plan, settings, measured = run.plan, run.settings.finetune, run.finetune
    return [
        ("steps", f"{measured.steps:,} ({measured.epochs:g} epochs)"),
        ("tokens", f"{measured.tokens:,} predicted"),
        ("batch", batch_text(plan)),
        (
            "learning rate",
            f"{run.peak_learning_rate:g} at its peak, {settings.lr_scheduler_type},"
            f" warm-up over {warmup_text(settings)}",
        ),
        *([("LoRA", lora_text(settings.lora))] if settings.lora else []),
        (
            "AdamW",
            f"betas {settings.adam_beta1:g} and {settings.adam_beta2:g},"
            f" epsilon {settings.adam_epsilon:g},"
            f" weight decay {settings.weight_decay:g}",
        ),
        ("gradient clipping", clipping_text(plan.gradient_clipping)),
        ("precision", plan.precision),
        ("DeepSpeed", strategy_text(plan)),
        ("hardware", hardware_text(plan, measured.device)),
    ]


def result_rows(run: RunResults, utilisation: float | None) -> list[Row]:
    """Return name and value of what was measured of the training."""
    measured, resumed = run.finetune, run.finetune.resumed_from_step
    return [
        (
            "time",
            duration(measured.seconds)
            + (f" since it resumed at step {resumed:,}" if resumed else ""),
        ),
        (
            "speed",
            f"{measured.tokens_per_second:,.0f} tokens/s"
            + (f", MFU {percent(utilisation)}" if utilisation else ""),
        ),
        ("peak memory", f"{max(measured.peak_memory_gb):.2f} GB on a rank"),
        ("last training loss", f"{measured.train_loss:.3f} nats per token"),
        (
            "validation loss",
            f"{run.first_validation_loss:.3f} before, {measured.validation_loss:.3f}"
            f" after, {measured.best_validation_loss:.3f} at its lowest",
        ),
    ]


def batch_text(plan: Plan) -> str:
    """Return the size of the global batch, and how it is divided."""
    unit = "rank" if plan.pipeline_stages == 1 else "pipeline"
    return (
        f"{plan.global_batch_size:,} sequences of {plan.sequence_length:,}"
        f" tokens: {counted(plan.data_parallel_size, unit)} x"
        f" {plan.micro_batch_size:,} per pass x"
        f" {plan.gradient_accumulation_steps:,} accumulated"
    )


def warmup_text(settings: FinetuneSettings) -> str:
    """Return how long the learning rate rises."""
    if settings.warmup_steps is None:
        return f"{percent(settings.warmup_ratio)} of the steps"
    return counted(settings.warmup_steps, "step")


def clipping_text(limit: float) -> str:
    """Return the largest norm of the gradient; a limit of 0 does not clip."""
    return f"norm {limit:g}" if limit else "none"


def lora_text(lora: LoraSettings) -> str:
    """Return rank, scale, kind and place of the adapters."""
    targets = lora.target_modules
    where = targets if isinstance(targets, str) else ", ".join(targets)
    kinds = {"rsLoRA": lora.use_rslora, "DoRA": lora.use_dora}
    return (
        f"r {lora.r}, lora_alpha {lora.lora_alpha:g}, dropout {lora.lora_dropout:g},"
        + "".join(f" {kind}," for kind, is_used in kinds.items() if is_used)
        + f" on {where}; merged"
        + (" into weights that were held in 4 bits (NF4)" if lora.load_in_4bit else "")
    )


def checkpointing_text(plan: Plan) -> str:
    """Return what is computed again of how many layers."""
    is_selective = plan.activation_checkpointing == "selective"
    interval = plan.activation_checkpointing_interval
    return (
        ("selective " if is_selective else "")
        + "activation checkpointing"
        + (f" of one layer in {interval}" if interval > 1 else "")
    )


def strategy_text(plan: Plan) -> str:
    """Return how DeepSpeed and PyTorch train, from ZeRO stage to attention."""
    words = [f"ZeRO stage {plan.zero_stage}"]
    if plan.pipeline_stages > 1:
        words.append(f"pipeline of {plan.pipeline_stages} stages")
    if plan.optim == "adamw_8bit":
        words.append("AdamW in 8 bits")
    if plan.bf16_optimizer_states:
        words.append("optimizer states in bf16")
    if plan.offload_optimizer != "none":
        words.append(f"offload_optimizer: {plan.offload_optimizer}")
    if plan.offload_param != "none":
        words.append(f"offload_param: {plan.offload_param}")
    if plan.activation_checkpointing:
        words.append(checkpointing_text(plan))
    if plan.torch_compile:
        words.append("layers compiled")
    if plan.use_liger_kernel:
        words.append("Liger kernels")
    words.append(f"{plan.attn_implementation} attention")
    return ", ".join(words)
