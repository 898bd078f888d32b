"""Has every Python with this folder on its path interpret Triton's kernels on the CPU.

Triton's interpreter computes a kernel in NumPy, block after block, on tensors in main
memory. What it lacks is added here: scalars that are floats, the two functions of
CUDA's mathematics that Liger's kernels call, and a choice among configurations, for
which Triton would time them on a GPU.
"""

import os

os.environ["TRITON_INTERPRET"] = "1"

import numpy as np
from triton import language
from triton.language.extra import libdevice
from triton.runtime import autotuner, interpreter

own_scalar = interpreter._implicit_cvt
own_autotuner = autotuner.Autotuner.__init__


def as_scalar(argument):
    """Return an argument of a kernel as the compiler takes it: floats are fp32."""
    if not isinstance(argument, float):
        return own_scalar(argument)
    number = np.array([argument], np.float32)
    handle = interpreter.TensorHandle(number, language.float32)
    return language.tensor(handle, language.float32)


def elementwise(function):
    """Return a function of NumPy as one of Triton's language."""

    def of_tensor(values):
        numbers = values.handle.data
        made = function(numbers).astype(numbers.dtype)
        handle = interpreter.TensorHandle(made, values.handle.dtype)
        return language.tensor(handle, values.type)

    return of_tensor


def take_first(self, function, names, configurations, *others, **options):
    """Make an autotuner that has no choice."""
    own_autotuner(self, function, names, configurations[:1], *others, **options)


interpreter._implicit_cvt = as_scalar
libdevice.rsqrt = elementwise(lambda numbers: 1 / np.sqrt(numbers))
libdevice.tanh = elementwise(np.tanh)
autotuner.Autotuner.__init__ = take_first
