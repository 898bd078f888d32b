"""Which of Liger's kernels compute, and for which families of models there are some.

Uses `set_impl` of `liger_kernel.backends`, the environment variables that come before
it, the logger of `liger_kernel.backends.registry`, and `MODEL_TYPE_TO_APPLY_LIGER_FN`
of `liger_kernel.transformers.monkey_patch`. Without the first two GPUs since Hopper may
compute with other kernels than those that were seen to be right; without the third each
process warns of those that cannot be imported; without the last one
`configure.use_liger_kernel` would do nothing to other families without a word.
"""

import logging
import os
from importlib import import_module

# Each may end in the name of an operation.
VARIABLES = ("LIGER_KERNEL_IMPL", "LIGER_KERNEL_BACKEND")
# Liger's kernels in Triton, on GPUs of whatever vendor.
TRITON = "nvidia-triton"


def pin_triton() -> None:
    """Have Liger compute with its kernels in Triton, whatever else is installed.

    Removes the environment variables that would choose others, so it has to come before
    all imports of Liger's kernels in a process.

    Raises:
        ImportError: If liger-kernel cannot be imported.
    """
    for name in [name for name in os.environ if name.startswith(VARIABLES)]:
        del os.environ[name]
    # It imports all, and warns of those that lack a package, which are not wanted here.
    logging.getLogger("liger_kernel.backends.registry").setLevel(logging.ERROR)
    import_module("liger_kernel.backends").set_impl(TRITON)


def liger_families() -> frozenset[str]:
    """Return the model types that have kernels.

    Raises:
        ImportError: If liger-kernel, or Triton, is not installed.
    """
    module = import_module("liger_kernel.transformers.monkey_patch")
    return frozenset(module.MODEL_TYPE_TO_APPLY_LIGER_FN)
