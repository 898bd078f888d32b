"""A loopback hub and a process that talks to it, shared by the tests of one file."""

from collections.abc import Iterator

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
