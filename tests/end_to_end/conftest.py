"""One small real run under git and DVC, which the tests copy."""

from contextlib import suppress

import psutil
import pytest

from versioned_run import SMALL, VersionedRun, make_small_run


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> VersionedRun:
    """A finished, committed and pushed run; tests leave it as it is."""
    run = make_small_run(tmp_path_factory.mktemp("finished") / "job", SMALL)
    run.train()
    run.commit("first run")
    run("dvc", "push")
    return run


@pytest.fixture
def run(finished, tmp_path) -> VersionedRun:
    """A copy of it."""
    return finished.copy(tmp_path / "job")


@pytest.fixture(autouse=True)
def nothing_goes_on(tmp_path):
    """Kill what a failed test has left running in its folder."""
    yield
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.cwd().startswith(f"{tmp_path}/"):
                process.kill()
