"""GPUs by name, and the speeds from which times are predicted."""

from dataclasses import replace

import pytest

from chosen_plans import GPUS
from retune.planning.gpus import find_gpu, lacks_bf16, workspace_bytes
from retune.planning.speeds import NETWORK, speeds_of


@pytest.mark.parametrize(
    ("name", "lacks"),
    [
        ("Tesla V100-SXM2-16GB", True),
        ("NVIDIA GeForce RTX 2080 Ti", True),
        ("Quadro RTX 8000", True),
        ("Tesla P100-PCIE-16GB", True),
        ("NVIDIA RTX A6000", False),
        ("NVIDIA RTX 6000 Ada Generation", False),
        ("NVIDIA GeForce RTX 4090", False),
        ("NVIDIA H100 80GB HBM3", False),
        ("", False),
    ],
)
def test_gpus_before_ampere_only_emulate_bf16(name, lacks):
    assert lacks_bf16(name) == lacks


def test_the_most_specific_name_counts():
    assert find_gpu("NVIDIA H100 PCIe").memory < find_gpu("NVIDIA H100 80GB").memory
    assert find_gpu("NVIDIA A100-PCIE-40GB").link < find_gpu("A100").link
    assert find_gpu("NVIDIA H100 80GB HBM3 MIG 1g.10gb") is None
    assert find_gpu("TPU v5") is None
    assert find_gpu("AMD Instinct MI250X/MI250") == find_gpu("MI250X")


@pytest.mark.parametrize(
    ("name", "mib"),
    [
        ("NVIDIA A100-SXM4-80GB", 8.125),
        ("NVIDIA GeForce RTX 4090", 8.125),
        ("NVIDIA H100 80GB HBM3", 32),
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", 32),
        ("NVIDIA B200", 32),
        ("AMD Instinct MI210", 32),
        ("AMD Instinct MI250X/MI250", 32),
        ("AMD Instinct MI355X", 32),
        ("AMD Radeon RX 7900 XTX", 32),
        ("MI250X", 32),
        ("AMD Instinct MI300X", 128),
        ("AMD Instinct MI325X", 128),
        (None, 32),
    ],
)
def test_workspaces_are_as_large_as_pytorch_reserves_them(name, mib):
    assert workspace_bytes(name) == mib * 2**20


def test_declared_speeds_go_before_known_ones_and_others_are_told():
    known = speeds_of(replace(GPUS, gpu_name="H100"), "bf16")
    assert known.assumed == ()
    declared = speeds_of(replace(GPUS, gpu_name="H100", link_gb_per_s=10.0), "bf16")
    assert declared.link == 10e9 < known.link
    assert declared.products == known.products
    several = speeds_of(replace(GPUS, gpu_name="H100", nodes=2), "bf16")
    assert several.network == NETWORK * 1e9
    assert "network" in several.assumed[0]
    unknown = speeds_of(replace(GPUS, gpu_name="Nobody's"), "bf16")
    assert "Nobody's and taken to be as fast as an A100" in unknown.assumed[0]


def test_fp32_is_slower():
    gpu = replace(GPUS, gpu_name="H100")
    assert speeds_of(gpu, "fp32").products < speeds_of(gpu, "bf16").products / 10
