"""The plans of tests/gpu are those that `configure` writes."""

import pytest

from device_cells import CELLS
from device_run import PINNED, DeviceRun
from retune.settings import ConfigureSettings
from retune.steps import configure


@pytest.mark.parametrize("name", ["ZeRO-3", "bf16 sdpa accumulation", "LoRA"])
def test_a_plan_without_predictions_is_that_of_configure(tmp_path, name):
    run = DeviceRun(tmp_path, "cpu")
    cell = CELLS[name]
    job = run.job(name, cell.configure, {})
    settings = ConfigureSettings(**{**PINNED, **cell.configure})
    written = tmp_path / "written"
    configure.run(settings, run.hardware, tmp_path / "base", run.metrics, written)
    for file in ("plan.json", "deepspeed.json"):
        assert (job.plan / file).read_bytes() == (written / file).read_bytes()
