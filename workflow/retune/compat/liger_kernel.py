"""The families of models that liger-kernel has kernels for.

Uses `MODEL_TYPE_TO_APPLY_LIGER_FN` of `liger_kernel.transformers.monkey_patch`. Without
it, `configure.use_liger_kernel` would do nothing to other families without a word.
"""

from importlib import import_module


def liger_families() -> frozenset[str]:
    """Return the model types that have kernels.

    Raises:
        ImportError: If liger-kernel, or Triton, is not installed.
    """
    module = import_module("liger_kernel.transformers.monkey_patch")
    return frozenset(module.MODEL_TYPE_TO_APPLY_LIGER_FN)
