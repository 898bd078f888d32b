"""One small real run under git and DVC, which the tests copy."""

from contextlib import suppress
from shutil import rmtree

import psutil
import pytest
from filelock import FileLock

from versioned_run import SMALL, VersionedRun, make_small_run


@pytest.fixture(scope="session")
def finished(tmp_path_factory, worker_id) -> VersionedRun:
    """A finished, committed and pushed run; tests leave it as it is.

    It takes a minute of CPU, so the first of pytest-xdist's processes that needs it
    makes it for all of them.
    """
    own = tmp_path_factory.getbasetemp()
    shared = own if worker_id == "master" else own.parent
    folder, made = shared / "finished", shared / "finished.made"
    with FileLock(f"{folder}.lock"):
        if not made.exists():
            rmtree(folder, ignore_errors=True)
            folder.mkdir()
            run = make_small_run(folder / "job", SMALL)
            run.train()
            run.commit("first run")
            run("dvc", "push")
            made.touch()
    return VersionedRun(folder / "job", folder / "calls")


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
