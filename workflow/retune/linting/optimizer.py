"""The findings in the optimizer, whether the config has it or the script."""

from collections.abc import Iterator, Mapping
from typing import Any

from retune.linting import optimizer_parameters as known
from retune.linting.auto_values import who_fills_in
from retune.linting.finding import Finding, error, warning
from retune.linting.keys_and_values import nearest, shown
from retune.linting.read_config import MISSING, ReadConfig
from retune.linting.value import as_number

TYPE, PARAMS = "optimizer.type", "optimizer.params"
UNTESTED = "zero_allow_untested_optimizer"
FORCES = "zero_force_ds_cpu_optimizer"


def optimizers(config: ReadConfig) -> Iterator[Finding]:
    """Yield what is wrong with the optimizer."""
    client = config.training.client_optimizer
    if client is not None:
        yield from of_script(config, client)
    if not isinstance(config.as_written("optimizer"), Mapping):
        return
    kind = config.optimizer_type
    if kind is None:
        if client is None and config.as_written(TYPE) in (MISSING, None):
            happens = (
                "missing: DeepSpeed makes no optimizer, and stops at the first step"
            )
            yield error(TYPE, happens, 'write "AdamW", or pass an optimizer')
        return
    if kind == "auto":
        return  # Any "auto" is reported with the single keys.
    if client is None:
        yield from of_config(config, kind)
    elif not config.training.transformers:
        happens = f"ignored: the script passes {client}"
        yield warning("optimizer", happens, "delete it")


def of_script(config: ReadConfig, client: str) -> Iterator[Finding]:
    """Yield what is wrong with the optimizer that the script passes."""
    if config.training.transformers:
        # Accelerate allows it by itself, and offloads a DeepSpeed class in its place.
        return
    name = client.rsplit(".", 1)[-1]
    offloaded = config.stage > 0 and config.offloads("optimizer") != "none"
    forces = config.value(FORCES)
    if offloaded and forces and name not in known.CPU_CLASSES:
        happens = f"DeepSpeed refuses to offload {name}, which the script passes"
        mend = 'pass DeepSpeedCPUAdam, or write "zero_force_ds_cpu_optimizer": false'
        yield error("zero_optimization.offload_optimizer", happens, mend)
    is_allowed = config.value(UNTESTED) or name in known.TESTED_CLASSES
    if config.stage > 0 and not is_allowed:
        yield untested(UNTESTED, name)


def untested(key: str, name: str) -> Finding:
    """Return the finding for an optimizer that ZeRO was not tested with."""
    happens = f"DeepSpeed refuses {name} with ZeRO, which was not tested with it"
    return error(key, happens, f'write "{UNTESTED}": true, or take AdamW')


def of_config(config: ReadConfig, kind: str) -> Iterator[Finding]:
    """Yield what is wrong with the optimizer that the config names."""
    lower = kind.lower()
    if lower not in known.OWN and kind not in known.TORCH:
        names = [*known.OWN.values(), *known.TORCH]
        like = nearest(kind, names)
        gone = "DeepSpeed has removed it" if lower in known.REMOVED else "unknown"
        mend = f"write {like}" if like and lower not in known.REMOVED else "write AdamW"
        yield error(TYPE, f"{gone}: DeepSpeed refuses {kind}", mend)
        return
    if kind == "LBFGS":
        happens = "DeepSpeed gives it no closure, and stops at the first step"
        yield error(TYPE, happens, "write AdamW")
    if config.stage > 0 and lower not in known.TESTED and not config.value(UNTESTED):
        yield untested(TYPE, kind)
    if lower == "lamb" and config.value("fp16.loss_scale") != 0:
        happens = "DeepSpeed refuses a fixed loss scale with Lamb"
        yield error("fp16.loss_scale", happens, "write 0")
    params = config.section(PARAMS)
    written = config.section("optimizer").get("params")
    if written is not None and not isinstance(written, Mapping):
        return
    for name, value in params.items():
        yield from of_parameter(config, kind, name, value)


def of_parameter(
    config: ReadConfig, kind: str, name: str, value: Any
) -> Iterator[Finding]:
    """Yield what is wrong with one parameter of the optimizer.

    Args:
        config: The whole config.
        kind: The optimizer, as it is written.
        name: Name of the parameter.
        value: Its value.
    """
    key = f"{PARAMS}.{name}"
    taken = parameters(config, kind)
    if name == "max_grad_norm":
        mend = f"write gradient_clipping: {shown(value)} at the top instead"
        yield error(key, "DeepSpeed refuses it here", mend)
    elif taken is not None and name not in taken:
        like = nearest(name, taken) or OTHER_NAMES.get(name)
        mend = f"write {like}" if like else f"it takes {', '.join(sorted(taken))}"
        if kind.lower() == "muon":
            yield error(key, "Muon ignores it silently", mend)
        else:
            happens = f"{kind} has no such parameter: DeepSpeed stops with a TypeError"
            yield error(key, happens, mend)
    elif value == "auto" and name not in known.FLAGS:
        if not config.is_filled_in(key):
            happens = '"auto" is no value for DeepSpeed: it stops at the start'
            yield error(key, happens, f"write a value{who_fills_in(config, key)}")
    elif name in known.FLAGS:
        yield from of_flag(key, value)
    elif name in known.NUMBERS and not (kind == "Adafactor" and name == "eps"):
        yield from of_number(key, value)
    elif name == "betas":
        yield from of_betas(key, value, bool(config.section(PARAMS).get("torch_adam")))


# Names of other libraries for the same parameters.
OTHER_NAMES = {
    "learning_rate": "lr",
    "beta1": "betas",
    "beta2": "betas",
    "adam_epsilon": "eps",
    "epsilon": "eps",
    "wd": "weight_decay",
}


def of_number(key: str, value: Any) -> Iterator[Finding]:
    """Yield the finding for a parameter that is no number from 0."""
    mend = "it takes a number at least 0"
    if isinstance(value, bool):
        yield error(key, f"DeepSpeed takes {shown(value)} as {int(value)}", mend)
    elif not isinstance(value, int | float):
        yield error(key, f"{shown(value)} is no number: DeepSpeed stops", mend)
    elif value < 0:
        yield error(key, f"{shown(value)} is negative, which optimizers refuse", mend)
    elif value == 0 and key.endswith(".lr"):
        yield warning(key, "0: nothing is learned", "write a rate above 0")


def of_flag(key: str, value: Any) -> Iterator[Finding]:
    """Yield the finding for a flag that is neither true nor false."""
    if value is not None and value not in (True, False):
        happens = f"DeepSpeed takes {shown(value)} as {str(bool(value)).lower()}"
        yield error(key, happens, "it takes true or false")


def of_betas(key: str, value: Any, of_torch: bool) -> Iterator[Finding]:
    """Yield the finding for betas that are not two numbers from 0 to below 1.

    Args:
        key: Full name of the parameter.
        value: Its value.
        of_torch: Whether it is PyTorch's Adam, which refuses integers.
    """
    mend = "it takes two numbers from 0 to below 1, such as [0.9, 0.999]"
    is_pair = isinstance(value, list) and len(value) == 2
    numbers = [as_number(beta) for beta in value] if is_pair else []
    right = [beta for beta in numbers if beta is not None and 0 <= beta < 1]
    if not is_pair or len(right) < 2 or any(isinstance(beta, str) for beta in value):
        yield error(key, f"DeepSpeed stops at {shown(value)}", mend)
    elif of_torch and any(isinstance(beta, int) for beta in value):
        happens = f"PyTorch's Adam stops at the integer in {shown(value)}"
        yield error(key, happens, f"write {shown([float(beta) for beta in value])}")


def parameters(config: ReadConfig, kind: str) -> tuple[str, ...] | None:
    """Return the parameters that an optimizer takes, or None if any may be right."""
    lower = kind.lower()
    offloaded = config.stage > 0 and config.offloads("optimizer") != "none"
    if lower in ("adam", "adamw"):
        if config.section(PARAMS).get("torch_adam"):
            # Of Adam, DeepSpeed makes AdamW as well, unless adam_w_mode is false.
            is_adam = lower == "adam" and not config.section(PARAMS).get(
                "adam_w_mode", True
            )
            return (*known.TORCH["Adam" if is_adam else "AdamW"], *known.OF_ADAM)
        return (*(known.CPU_ADAM if offloaded else known.FUSED_ADAM), *known.OF_ADAM)
    if lower == "adagrad":
        return known.CPU_ADAGRAD if offloaded else known.TORCH["Adagrad"]
    if lower == "lion":
        return known.CPU_LION if offloaded else known.FUSED_LION
    if lower in known.OF_MUP:
        return None
    own = {"lamb": known.LAMB, "muon": known.MUON}
    return own.get(lower) or known.TORCH.get(kind)


def makes_cpu_adam(config: ReadConfig) -> bool:
    """Return whether the optimizer is offloaded and is, or may be, DeepSpeed's own."""
    if config.stage == 0 or config.offloads("optimizer") == "none":
        return False
    client = config.training.client_optimizer
    if client is not None:
        name = client.rsplit(".", 1)[-1]
        if config.training.transformers and config.value(FORCES):
            return "Adagrad" not in name and "Lion" not in name
        return name == "DeepSpeedCPUAdam"
    kind = config.optimizer_type
    torch_adam = config.section(PARAMS).get("torch_adam")
    return kind is None or (kind.lower() in ("adam", "adamw") and not torch_adam)


def may_be_adam(config: ReadConfig) -> bool:
    """Return whether the optimizer counts its steps, as Adam does, or may do so."""
    kind = config.training.client_optimizer or config.optimizer_type
    return kind is None or not kind.lower().endswith(known.NOT_ADAM)
