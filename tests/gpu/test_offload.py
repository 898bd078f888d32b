"""Offloaded trainings; DeepSpeed compiles its Adam for CPUs first, for a minute."""

import pytest

from device_cells import CELLS, FINETUNE, check_losses

OFFLOADED = [name for name, cell in CELLS.items() if cell.needs_compiler]


@pytest.fixture(scope="session")
def offloaded(run):
    jobs = {
        name: run.job(name, CELLS[name].configure, FINETUNE[CELLS[name].trained])
        for name in OFFLOADED
    }
    assert run.train(*jobs.values()) == 0, run.output
    return jobs


@pytest.mark.parametrize("name", OFFLOADED)
def test_losses_are_those_of_the_cpu(offloaded, on_cpu, name):
    check_losses(offloaded[name], on_cpu, CELLS[name])
