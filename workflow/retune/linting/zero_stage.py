"""The findings in what is only for some stages of ZeRO."""

from collections.abc import Iterator

from retune.linting.finding import Finding, error, warning
from retune.linting.known_keys import DTYPES
from retune.linting.known_keys import ZERO as KEYS
from retune.linting.read_config import ZERO, ReadConfig
from retune.linting.removed_keys import RENAMED

GATHERS = f"{ZERO}.stage3_gather_16bit_weights_on_model_save"
MANAGED = "managed_gradient_accumulation"
QUANTIZED = (
    *("zero_quantized_weights", "zero_quantized_nontrainable_weights"),
    "zero_quantized_gradients",
)


def zero_stages(config: ReadConfig) -> Iterator[Finding]:
    """Yield what does not go with the stage of ZeRO."""
    stage = config.stage
    if config.training.transformers and not config.given(ZERO):
        happens = "missing: Accelerate stops without it"
        yield error(ZERO, happens, 'write {"stage": 1} or another stage')
    for name in config.section(ZERO):
        key = f"{ZERO}.{name}"
        first = KEYS.other_names.get(name, name)
        is_of_stage_3 = first.startswith("stage3_") or name in QUANTIZED
        is_on = config.as_written(key) not in (False, None, "auto")
        if stage < 3 and is_of_stage_3 and is_on and key not in RENAMED:
            yield warning(
                key, f"ignored at stage {stage}", 'delete it, or write "stage": 3'
            )
    if config.training.transformers and stage == 3 and not config.value(GATHERS):
        happens = "the Trainer saves DeepSpeed's checkpoint in place of the weights"
        yield warning(GATHERS, happens, "write true")
    yield from refused_options(config)
    if stage == 3 and config.training.accelerator == "cpu":
        for name in QUANTIZED:
            # A single rank sends no gradients, and so does not quantize them.
            is_sent = name != "zero_quantized_gradients" or config.training.gpus > 1
            if is_sent and config.value(f"{ZERO}.{name}"):
                happens = "DeepSpeed cannot quantize on CPUs, and stops"
                yield error(f"{ZERO}.{name}", happens, "write false")


def refused_options(config: ReadConfig) -> Iterator[Finding]:
    """Yield the options that DeepSpeed refuses at some stages."""
    stage = config.stage
    if config.given("pipeline") and stage > 1:
        happens = f"DeepSpeed refuses a PipelineModule at stage {stage}"
        yield error("pipeline", happens, 'write "stage": 1')
    if config.value(f"{ZERO}.legacy_stage1") and stage > 0:
        yield error(f"{ZERO}.legacy_stage1", "DeepSpeed refuses it", "delete it")
    is_offloaded = stage > 0 and config.offloads("optimizer") != "none"
    if config.section(f"{ZERO}.zenflow") and not is_offloaded:
        happens = "DeepSpeed refuses it without offload_optimizer"
        yield error(f"{ZERO}.zenflow", happens, "delete it, or offload the optimizer")
    if config.value("gradient_allreduce_op") == "sum" and stage == 3:
        happens = "DeepSpeed refuses sum at stage 3"
        yield error("gradient_allreduce_op", happens, "write mean")
    bucket = f"{ZERO}.allgather_bucket_size"
    if stage in (1, 2) and config.value(bucket) % 2:
        yield error(
            bucket, "DeepSpeed refuses an odd number", "it takes an even integer"
        )
    quantized = f"{ZERO}.zero_quantized_weights"
    if config.value("torch_autocast.enabled") and config.value(quantized):
        happens = "DeepSpeed refuses it with zero_quantized_weights"
        yield error("torch_autocast.enabled", happens, "write false, or take bf16")
    yield from without_norm(config)
    yield from of_scaled_gradients(config)
    if stage < 2 and overlaps(config) and not config.value(MANAGED):
        happens = f"DeepSpeed refuses false at stage {stage} with overlap_comm"
        yield error(MANAGED, happens, "write true")


def without_norm(config: ReadConfig) -> Iterator[Finding]:
    """Yield what does not go without the norm of the gradients."""
    key = f"{ZERO}.compute_grad_norm"
    if config.value(key):
        return
    if config.stage not in (1, 2):
        happens = f"DeepSpeed refuses false at stage {config.stage}"
        yield error(key, happens, "delete it, or take stage 1 or 2")
    elif config.value("gradient_clipping") > 0:
        clips = f"gradients are clipped to {config.value('gradient_clipping'):g}"
        default = "" if config.given("gradient_clipping") else ", the default"
        happens = f"DeepSpeed refuses false: {clips}{default}"
        yield error(key, happens, "write gradient_clipping: 0, or delete it")
    elif config.offloads("optimizer") != "none":
        happens = "DeepSpeed refuses false with offload_optimizer"
        yield error(key, happens, "delete it")
    elif sums_in_bf16_optimizer(config):
        happens = "DeepSpeed refuses false at stage 1 with bf16 and sums in fp32"
        yield error(key, happens, "delete it")


def of_scaled_gradients(config: ReadConfig) -> Iterator[Finding]:
    """Yield what stages 2 and 3 refuse while they reduce by scattering."""
    means = config.value("gradient_allreduce_op") == "mean"
    if config.stage < 2 or not config.value(f"{ZERO}.reduce_scatter") or not means:
        return
    refuses = f"DeepSpeed refuses it at stage {config.stage} with reduce_scatter"
    if config.value("prescale_gradients"):
        mend = 'delete it, or write "reduce_scatter": false'
        yield error("prescale_gradients", refuses, mend)
    if config.value("gradient_predivide_factor") != 1:
        yield error("gradient_predivide_factor", refuses, "write 1")


def sums_in_bf16_optimizer(config: ReadConfig) -> bool | None:
    """Return whether DeepSpeed takes its optimizer for bf16 with sums in fp32.

    That has no buckets, and is for stage 1 only. None if the precision is not known.
    """
    accumulation = config.value("data_types.grad_accum_dtype")
    would_in_bf16 = (
        config.stage == 1
        and DTYPES.get(accumulation) == "fp32"
        and config.offloads("optimizer") != "cpu"
    )
    if would_in_bf16 and config.precision is None:
        return None
    return would_in_bf16 and config.precision == "bf16"


def overlaps(config: ReadConfig) -> bool:
    """Return whether gradients are sent while others are computed."""
    overlap = config.value(f"{ZERO}.overlap_comm")
    return config.stage == 3 if overlap is None else bool(overlap)
