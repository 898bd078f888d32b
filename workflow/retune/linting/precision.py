"""The findings in the floating point types."""

from collections.abc import Iterator

from retune.linting.finding import Finding, error, warning
from retune.linting.known_keys import DTYPES
from retune.linting.optimizer import makes_cpu_adam, may_be_adam
from retune.linting.read_config import ReadConfig
from retune.linting.zero_stage import sums_in_bf16_optimizer

ACCUMULATION = "data_types.grad_accum_dtype"
STATES = "bf16_optimizer_states"
MASTERS = {
    "bf16": "bf16_master_weights_and_grads",
    "fp16": "fp16_master_weights_and_grads",
}


def precisions(config: ReadConfig) -> Iterator[Finding]:
    """Yield what is wrong with fp16, bf16 and the types of what they accumulate in."""
    if config.enables("fp16") and config.enables(config.bf16):
        happens = f"DeepSpeed refuses it beside {config.bf16}.enabled"
        yield error(
            "fp16.enabled", happens, "enable one of them; bf16 needs no loss scale"
        )
    if config.enables("fp16") and config.training.accelerator == "cpu":
        happens = "DeepSpeed has no fp16 on CPUs and refuses it"
        yield error("fp16.enabled", happens, "write false; bf16 runs on CPUs")
    if config.given("bfloat16") and config.bf16 == "bf16":
        if config.given("bf16"):
            yield error("bfloat16", "DeepSpeed reads bf16 and ignores it", "delete it")
        else:
            happens = "Accelerate adds bf16, and DeepSpeed ignores bfloat16 beside it"
            yield error("bfloat16", happens, "write bf16")
    if config.value("fp16.auto_cast") and config.enables("fp16") is False:
        happens = (
            "the inputs become fp16 while the model does not: the first step fails"
        )
        yield error("fp16.auto_cast", happens, "delete it, or enable fp16")
    yield from loss_scaling(config)
    yield from without_zero(config)
    yield from parameter_type(config)
    yield from low_precision_states(config)


def loss_scaling(config: ReadConfig) -> Iterator[Finding]:
    """Yield what is wrong with the scale that keeps fp16 gradients from vanishing."""
    if not config.enables("fp16") or config.value("fp16.loss_scale") != 0:
        return
    for key in ("fp16.loss_scale_window", "fp16.min_loss_scale"):
        if config.value(key) <= 0:
            happens = "DeepSpeed refuses it while the loss scale is dynamic"
            yield error(key, happens, "it takes an integer at least 1")


def without_zero(config: ReadConfig) -> Iterator[Finding]:
    """Yield what goes wrong at stage 0 in low precision."""
    precision = config.precision
    # A pipeline has another optimizer, which does not take the step.
    if config.stage > 0 or config.given("pipeline") or precision is None:
        return
    key = f"{config.bf16 if precision == 'bf16' else 'fp16'}.enabled"
    accumulation = DTYPES.get(str(config.value(ACCUMULATION)), precision)
    if accumulation != precision:
        happens = f"DeepSpeed stops: {precision} with {accumulation} is for ZeRO only"
        yield error(ACCUMULATION, happens, 'write zero_optimization: {"stage": 1}')
        return
    if precision == "fp32" or not may_be_adam(config):
        return
    happens = (
        "without ZeRO, Adam takes a step of zeros first and is one step off, unless"
        " the model is a PipelineModule"
    )
    mend = 'write zero_optimization: {"stage": 1}, also for one GPU'
    # That of fp16 is the same code, but was not seen to run.
    yield (error if precision == "bf16" else warning)(key, happens, mend)


def parameter_type(config: ReadConfig) -> Iterator[Finding]:
    """Yield the finding for a type of the parameters that is not the enabled one."""
    wanted = config.value("data_types.param_dtype")
    trained = config.precision
    if wanted is not None and trained is not None and DTYPES[wanted] != trained:
        happens = f"DeepSpeed refuses {wanted} while it trains in {trained}"
        yield error("data_types.param_dtype", happens, "delete it; enable bf16 or fp16")


def low_precision_states(config: ReadConfig) -> Iterator[Finding]:
    """Yield what is wrong with master weights and optimizer states in 16 bits."""
    states = f"{config.bf16}.{STATES}"
    masters = {config.bf16: MASTERS["bf16"], "fp16": MASTERS["fp16"]}
    if config.value(states) and not config.value(f"{config.bf16}.{MASTERS['bf16']}"):
        happens = f"DeepSpeed refuses it without {MASTERS['bf16']}"
        yield error(states, happens, f"write {MASTERS['bf16']}: true as well")
    for section, name in masters.items():
        key = f"{section}.{name}"
        if not config.value(key):
            continue
        if config.stage == 0:
            happens = "DeepSpeed refuses it without ZeRO"
            yield error(key, happens, 'write zero_optimization: {"stage": 1}')
        elif section != "fp16" and sums_in_bf16_optimizer(config) is None:
            continue
        elif section != "fp16" and sums_in_bf16_optimizer(config):
            happens = f"ignored at stage 1 with {ACCUMULATION} in fp32"
            yield error(key, happens, f"delete it, or {ACCUMULATION}")
        elif needs_cpu_adam(config, section) and not makes_cpu_adam(config):
            happens = (
                "DeepSpeed refuses it without offload_optimizer and its own CPU Adam"
            )
            mend = f"write {STATES}: true as well, or offload the optimizer"
            yield error(key, happens, mend if section != "fp16" else "delete it")
        elif config.enables(section) is False and config.precision is not None:
            kept = "bf16" if section == config.bf16 else "fp16"
            happens = f"a model in {config.precision} has its weights kept in {kept}"
            yield error(key, happens, f"delete it, or enable {section}")


def needs_cpu_adam(config: ReadConfig, section: str) -> bool:
    """Return whether master weights in 16 bits are only for an offloaded optimizer.

    Args:
        config: The whole config.
        section: Section that has them: "fp16", "bf16" or "bfloat16".
    """
    is_offloaded = config.stage > 0 and config.offloads("optimizer") != "none"
    return section == "fp16" or is_offloaded or not config.value(f"{section}.{STATES}")
