"""The peak of each phase is noted as it ends, and the most of all is not forgotten."""

from retune.measuring.phase_peaks import PhasePeaks


class Allocator:
    """Counts bytes as PyTorch's allocator does: the most since it began anew."""

    def __init__(self):
        self.now = self.peak = 0

    def hold(self, size):
        """Have more bytes in use, or fewer."""
        self.now += size
        self.peak = max(self.peak, self.now)

    def max_memory_allocated(self):
        return self.peak

    def reset_peak_memory_stats(self):
        self.peak = self.now


def test_each_phase_has_a_peak_of_its_own():
    gpu = Allocator()
    peaks = PhasePeaks(lambda: gpu)
    gpu.hold(100)
    gpu.hold(-60)
    peaks.end("load")
    gpu.hold(30)
    peaks.end("optimizer_init")
    gpu.hold(500)
    gpu.hold(-500)
    with peaks.interrupt_training("validation"):
        gpu.hold(7)
        gpu.hold(-7)
    gpu.hold(20)
    with peaks.interrupt_training("validation"):
        gpu.hold(1)
    assert peaks.bytes == {
        **{"load": 100, "optimizer_init": 70},
        # The most of several times that one is in a phase.
        **{"training": 570, "validation": 91},
    }
    assert peaks.most == 570
    # What is going on counts, too.
    gpu.hold(1000)
    assert peaks.most == 1091


def test_another_training_of_the_process_begins_anew():
    gpu = Allocator()
    peaks = PhasePeaks(lambda: gpu)
    gpu.hold(100)
    gpu.hold(-90)
    peaks.end("load")
    gpu.hold(50)
    gpu.hold(-50)
    peaks.restart()
    assert (peaks.bytes, peaks.most) == ({}, 10)


def test_without_a_gpu_nothing_is_noted():
    peaks = PhasePeaks(lambda: None)
    peaks.restart()
    with peaks.interrupt_training("save"):
        pass
    assert (peaks.bytes, peaks.most) == ({}, 0)
