"""The stopwatch and the peak of memory measure what the device does."""

import pytest
import torch

from retune.measuring.device_memory import peak_memory_gb
from retune.measuring.stopwatch import PassSeconds, Stopwatch

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here"),
]


def test_passes_are_the_time_of_the_device():
    matrix = torch.ones(4096, 4096, device="cuda")
    matrix @ matrix  # the first one loads the kernels
    stopwatch = Stopwatch()
    for name, times in (("forward", 5), ("backward", 20), ("backward", 20)):
        with stopwatch.measure(name):
            for _ in range(times):
                matrix @ matrix
    seconds = stopwatch.read()
    assert 4 < seconds.backward / seconds.forward < 16
    assert stopwatch.read() == PassSeconds()


def test_peak_memory_is_that_of_the_device():
    before = peak_memory_gb()
    block = torch.ones(250_000_000, device="cuda")
    during = peak_memory_gb()
    assert during >= 1.0 > before
    del block
    assert peak_memory_gb() == during
