"""Operators that DeepSpeed compiles: whether they are there, and building them.

Uses `CPUAdamBuilder` and `AsyncIOBuilder` of `deepspeed.ops.op_builder` with their
`is_compatible` and `load`, `accelerator_name` and `installed_ops` of
`deepspeed.git_version_info`, and the name of the accelerator, `_name`. Without these,
the operators of `configure.offload_optimizer` and `configure.offload_param` could not
be built before the ranks start.
"""

from typing import Any

# What DeepSpeed builds for each operator, in this order.
EXTENSIONS = {"cpu_adam": ["cpu_adam"], "async_io": ["pin_memory", "async_io"]}


def suits_this_machine(operator: str) -> bool:
    """Return whether an operator can run here, and be compiled if need be."""
    return builder_of(operator).is_compatible(verbose=True)


def load_operator(operator: str) -> None:
    """Load an operator; it is compiled first if that has not been done.

    Raises:
        Exception: Of whatever kind, if that fails.
    """
    builder_of(operator).load(verbose=False)


def builder_of(operator: str) -> Any:
    """Return DeepSpeed's builder of `cpu_adam` or `async_io`."""
    from deepspeed.ops.op_builder import AsyncIOBuilder, CPUAdamBuilder

    return {"cpu_adam": CPUAdamBuilder, "async_io": AsyncIOBuilder}[operator]()


def extensions_to_build(operator: str) -> list[str]:
    """Return the extensions of an operator that DeepSpeed was installed without."""
    from deepspeed.accelerator import get_accelerator
    from deepspeed.git_version_info import accelerator_name, installed_ops

    if accelerator_name != get_accelerator()._name:
        return EXTENSIONS[operator]
    return [name for name in EXTENSIONS[operator] if not installed_ops.get(name)]
