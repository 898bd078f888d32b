"""Trainings for which something is compiled first, as DeepSpeed's Adam for CPUs is."""

import pytest

from device_cells import CELLS, FINETUNE, check_losses

COMPILED = [name for name, cell in CELLS.items() if cell.needs_compiler]


@pytest.fixture(scope="session")
def compiled(run):
    jobs = {
        name: run.job(name, CELLS[name].configure, FINETUNE[CELLS[name].trained])
        for name in COMPILED
        if CELLS[name].is_possible(run.device)
    }
    assert run.train(*jobs.values()) == 0, run.output
    return jobs


@pytest.mark.parametrize("name", COMPILED)
def test_losses_are_those_of_the_cpu(compiled, on_cpu, run, name):
    if name not in compiled:
        pytest.skip(f"not possible on {run.device} in this version")
    check_losses(compiled[name], on_cpu, CELLS[name])
