"""Settings for GPUs on a machine without: told before any step, if one needs them."""

from pathlib import Path

import pytest

from retune_start.gpus import VISIBLE

pytestmark = pytest.mark.skipif(
    any(Path("/dev").glob("nvidia[0-9]*")), reason="this machine has GPUs"
)


@pytest.fixture
def for_gpus(workspace, monkeypatch):
    """A workspace whose settings want four GPUs."""
    monkeypatch.delenv(VISIBLE, raising=False)
    path = workspace.folder / "params.yaml"
    text = path.read_text().replace("accelerator: cpu ", "accelerator: cuda ")
    path.write_text(text.replace("ranks_per_node: 2 ", "ranks_per_node: 4 "))
    return workspace


def test_a_run_that_trains_is_stopped_before_its_first_step(for_gpus):
    result = for_gpus.snakemake("--cores", "1", "train")
    assert result.returncode == 1
    assert (result.stdout + result.stderr).splitlines()[1:] == [
        "hardware.accelerator: cuda, but this machine shows no GPU; accelerator: cpu"
        " trains on its CPUs"
    ]
    assert not (for_gpus.folder / "data").exists()


def test_steps_that_need_no_gpu_run(for_gpus):
    result = for_gpus.snakemake("--cores", "1", "--", "download")
    assert result.returncode == 0, result.stderr


def test_a_dry_run_and_a_touch_need_no_gpu(for_gpus):
    for_gpus.looks_finished()
    assert for_gpus.planned("--forceall")
