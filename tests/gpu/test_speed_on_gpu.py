"""The stopwatch and the peak of memory measure what the device does."""

import pytest
import torch

from retune.measuring.device_memory import cuda_in_use, peak_memory_gb
from retune.measuring.phase_peaks import PhasePeaks
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


def test_phases_have_the_peaks_of_the_device():
    peaks = PhasePeaks(cuda_in_use)
    torch.ones(1, device="cuda")
    # A cached block that is a little larger would count whole.
    torch.cuda.empty_cache()
    peaks.restart()
    before = torch.cuda.memory_allocated()
    for phase, millions in (("load", 8), ("training", 64), ("save", 16)):
        block = torch.ones(millions * 2**18, device="cuda")
        assert peaks.most == torch.cuda.max_memory_allocated() or phase == "save"
        del block
        peaks.end(phase)
    sizes = {phase: size - before for phase, size in peaks.bytes.items()}
    assert sizes == {"load": 8 * 2**20, "training": 64 * 2**20, "save": 16 * 2**20}
    assert peaks.most == peaks.bytes["training"]


def test_peak_memory_is_that_of_the_device():
    before = peak_memory_gb()
    block = torch.ones(250_000_000, device="cuda")
    during = peak_memory_gb()
    assert during >= 1.0 > before
    del block
    assert peak_memory_gb() == during
