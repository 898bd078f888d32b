"""Peaks of devices, the stopwatch, the summary of a run's speed."""

import subprocess
import sys
import time
from dataclasses import asdict

import pytest

from history_rows import step_row
from retune.measuring.peak_flops import peak_flops, utilisation
from retune.measuring.speed import speed_of
from retune.measuring.stopwatch import PassSeconds, Stopwatch


@pytest.mark.parametrize(
    ("name", "precision", "tflops"),
    [
        ("NVIDIA H100 80GB HBM3", "bf16", 989),
        ("NVIDIA H100 80GB HBM3", "fp32", 67),
        ("NVIDIA H100 PCIe", "bf16", 756),
        ("NVIDIA H100 NVL", "fp16", 835),
        ("NVIDIA H200", "bf16", 989),
        ("NVIDIA GH200 480GB", "bf16", 989),
        ("NVIDIA B200", "bf16", 2250),
        ("NVIDIA A100-SXM4-80GB", "bf16", 312),
        ("NVIDIA A100 80GB PCIe", "bf16", 312),
        ("NVIDIA A10", "bf16", 125),
        ("NVIDIA A10G", "bf16", 70),
        ("NVIDIA A10G", "fp32", None),
        ("NVIDIA L4", "bf16", 121),
        ("NVIDIA L40S", "bf16", 362),
        ("Tesla V100-SXM2-16GB", "fp16", 125),
        ("Tesla V100-PCIE-32GB", "fp16", 112),
        ("Tesla V100-SXM2-16GB", "bf16", None),
        ("NVIDIA GeForce RTX 4090", "bf16", 165),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", "bf16", None),
        ("NVIDIA GeForce RTX 3090 Ti", "bf16", None),
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", "bf16", None),
        ("AMD Instinct MI300X", "bf16", 1307),
        ("AMD Instinct MI250X", "bf16", 191.5),
        ("NVIDIA Z9000", "bf16", None),
        ("cpu", "fp32", None),
    ],
)
def test_peaks_are_found_by_the_names_of_devices(name, precision, tflops):
    expected = None if tflops is None else tflops * 1e12
    assert peak_flops(name, precision) == expected


def test_passes_of_one_name_add_up_and_are_read_once():
    stopwatch = Stopwatch()
    for _ in range(3):
        with stopwatch.measure("forward"):
            time.sleep(0.02)
        time.sleep(0.02)
        with stopwatch.measure("backward"):
            time.sleep(0.04)
    seconds = stopwatch.read()
    assert seconds.optimizer is None
    assert 0.06 <= seconds.forward < seconds.backward
    assert 0.12 <= seconds.backward < 0.5
    assert stopwatch.read() == PassSeconds()


# In a process of its own: earlier tests may have held more.
PEAK = """
import sys
import numpy as np
from retune.measuring.device_memory import peak_memory_gb
from retune.measuring.stopwatch import Stopwatch
before = peak_memory_gb()
block = np.ones(40_000_000)
during = peak_memory_gb()
assert during - before > 0.25, (before, during)
del block
# The kernel counts in batches of pages.
assert peak_memory_gb() > 0.98 * during
Stopwatch().read()
assert "torch" not in sys.modules
"""


def test_peak_memory_is_the_most_ever_held_and_needs_no_torch():
    subprocess.run([sys.executable, "-c", PEAK], check=True, cwd="workflow")


def test_the_summary_leaves_out_the_first_step():
    rows = [
        step_row(1, seconds=60.0),
        step_row(2, seconds=1.0, data_seconds=0.25, save_seconds=1.0),
        step_row(3, seconds=3.0, data_seconds=0.25, forward_seconds=2.0),
    ]
    assert asdict(speed_of(rows)) == pytest.approx(
        {
            "step_seconds": 2.0,
            "tokens_per_second": 450.0,
            "computed_tokens_per_second": 500.0,
            "unpredicted_share": 0.1,
            "data_share": 0.1,
            "forward_share": 0.4,
            "backward_share": 0.0,
            "optimizer_share": 0.0,
            "save_share": 0.2,
        }
    )


def test_the_only_step_counts_and_what_was_not_measured_takes_no_time():
    speed = speed_of([step_row(1, seconds=2.0, forward_seconds=None)])
    assert speed.tokens_per_second == 450.0
    assert speed.forward_share == 0.0


def test_the_share_of_the_peak_is_of_all_devices():
    assert utilisation(2e6, 500.0, 1e9, 2) == 0.5
    assert utilisation(None, 500.0, 1e9, 2) is None
    assert utilisation(2e6, 500.0, None, 2) is None
