"""What the tests of several files share: a loopback hub, and an evaluation."""

from collections.abc import Iterator
from pathlib import Path
from shutil import copytree

import pytest

from hub_worker import Worker
from loopback_hub import LoopbackHub


@pytest.fixture(scope="module")
def hub() -> Iterator[LoopbackHub]:
    with LoopbackHub() as server:
        yield server


@pytest.fixture(scope="module")
def worker(
    hub: LoopbackHub, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Worker]:
    folder = tmp_path_factory.mktemp("worker")
    with Worker(hub.environment(str(folder / "home")), folder) as process:
        yield process


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with what `evaluate` reads, which no test may change."""
    from evaluation_case import make_inputs  # loads torch

    root = tmp_path_factory.mktemp("evaluation")
    make_inputs(root)
    return root


@pytest.fixture
def run_folder(inputs: Path, tmp_path: Path) -> Path:
    """Return a copy of it that a test may change."""
    return copytree(inputs, tmp_path / "run")


@pytest.fixture(scope="session")
def example_inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the same of data with answers, which no test may change."""
    from evaluation_case import make_example_inputs  # loads torch

    root = tmp_path_factory.mktemp("examples")
    make_example_inputs(root)
    return root


@pytest.fixture
def example_folder(example_inputs: Path, tmp_path: Path) -> Path:
    """Return a copy of it that a test may change."""
    return copytree(example_inputs, tmp_path / "run")
