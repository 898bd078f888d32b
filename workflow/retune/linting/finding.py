"""What the linter finds, and of which training it has to be told."""

from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Finding:
    """One thing in a DeepSpeed config that is not what its author thinks.

    Attributes:
        severity: "error" if DeepSpeed refuses the config, or does something else than
            it says; "warning" if it trains as written, but hardly as meant.
        key: Full name of the key, with dots: `zero_optimization.offload_param`.
        happens: What DeepSpeed would do.
        mend: What to write instead.
    """

    severity: Severity
    key: str
    happens: str
    mend: str


@dataclass(frozen=True)
class Training:
    """What a DeepSpeed config does not say of the training that reads it.

    Attributes:
        gpus: Number of ranks, with one GPU each, or of ranks on CPUs.
        accelerator: "cuda" or "cpu".
        transformers: Whether the Trainer of Transformers, or Accelerate, reads the
            config, and puts its own arguments in the place of "auto".
        client_optimizer: Name of the class of the optimizer that the script passes to
            `deepspeed.initialize`, such as `torch.optim.AdamW`; None if it passes
            none, or if that is not known.
        num_parameters: Parameters of the model, if they are known.
        model_parallel: GPUs that hold one copy of the model together: pipeline stages
            times tensor parallel ranks; None if only the config may say.
        precision: What `--fp16` and `--bf16` of the Trainer, or Accelerate's
            `mixed_precision`, make of "auto"; None if that is not known.
    """

    gpus: int
    accelerator: Literal["cuda", "cpu"] = "cuda"
    transformers: bool = False
    client_optimizer: str | None = None
    num_parameters: float | None = None
    model_parallel: int | None = None
    precision: Literal["fp32", "bf16", "fp16"] | None = None


def error(key: str, happens: str, mend: str) -> Finding:
    """Return a finding that is an error."""
    return Finding("error", key, happens, mend)


def warning(key: str, happens: str, mend: str) -> Finding:
    """Return a finding that is a warning."""
    return Finding("warning", key, happens, mend)
