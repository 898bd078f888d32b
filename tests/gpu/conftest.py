"""The trainings that tests of several files look at, once on each device."""

import signal
from dataclasses import replace

import pytest
import torch

from device_cells import CELLS, DETERMINISTIC, FINETUNE, RESUMED
from device_run import DeviceJob, DeviceRun

DEVICES = [
    # The same tests: what fails on a GPU alone is then the device's.
    pytest.param("cpu", marks=pytest.mark.long),
    pytest.param(
        "cuda",
        marks=[
            pytest.mark.gpu,
            pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
        ],
    ),
]

shown = set()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    """Put what a compiler is waited for last on a GPU: the time may end before.

    pytest has put it beside the other tests of the same `run`.
    """
    items.sort(
        key=lambda item: (
            item.path.name == "test_with_compiler.py"
            and item.get_closest_marker("gpu") is not None
        )
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Print why a test failed at once: a lent GPU may be gone before pytest ends."""
    report = yield
    reporter = item.config.pluginmanager.get_plugin("terminalreporter")
    if reporter and report.failed and report.longreprtext not in shown:
        shown.add(report.longreprtext)
        reporter.write_line(f"\n{item.nodeid}, {report.when}:\n{report.longreprtext}")
    return report


@pytest.fixture(scope="session", params=DEVICES)
def run(request, tmp_path_factory) -> DeviceRun:
    return DeviceRun(tmp_path_factory.mktemp(request.param), request.param)


@pytest.fixture(scope="session")
def on_cpu(run, tmp_path_factory) -> dict[str, DeviceJob]:
    """Return what losses are held to: plain trainings in fp32 on the CPU."""
    cpu = DeviceRun(tmp_path_factory.mktemp("reference"), "cpu")
    jobs = {
        name: cpu.job(name, {"zero_stage": 1, "precision": "fp32"}, finetune)
        for name, finetune in FINETUNE.items()
    }
    assert cpu.train(*jobs.values()) == 0, cpu.output
    return jobs


@pytest.fixture(scope="session")
def first_process(run, request) -> tuple[int, dict[str, DeviceJob]]:
    """Return how a process ended, and the jobs that it trained.

    They are the cells that a chosen test names, a "whole" training, and last the same,
    "killed", which kills the process before it saves step 4.
    """
    # Files of other folders, whose parameters name no cell, may be in the same process.
    values = [
        value
        for item in request.session.items
        if "first_process" in item.fixturenames
        for value in item.callspec.params.values()
    ]
    jobs = {
        name: run.job(name, cell.configure, FINETUNE[cell.trained])
        for name, cell in CELLS.items()
        if name in values and cell.is_possible(run.device) and not cell.needs_compiler
    }
    for name, fault in (
        ("whole", None),
        ("killed", {"name": "before a save", "rank": 0, "step": 4}),
    ):
        jobs[name] = run.job(
            name, DETERMINISTIC, RESUMED, fault=fault, is_deterministic=True
        )
    return run.train(*jobs.values()), jobs


@pytest.fixture(scope="session")
def trained(first_process) -> dict[str, DeviceJob]:
    return first_process[1]


@pytest.fixture(scope="session")
def resumed(run, first_process) -> DeviceJob:
    """Return the killed training, resumed in another process."""
    code, jobs = first_process
    assert code == -signal.SIGKILL, run.output
    job = replace(jobs["killed"], fault=None)
    assert run.train(job) == 0, run.output
    return job
