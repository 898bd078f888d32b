"""For all tests: a busy machine is no fault; the table of losses at the end."""

import gc
import os
from importlib.metadata import PackageNotFoundError, version

import pytest
from hypothesis import settings

# Where several tests run at once, torch's threads would only wait for each other.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


def pytest_collection_finish():
    """Have no garbage collection walk over all that the tests have imported."""
    gc.freeze()


@pytest.fixture
def install_liger(tmp_path, monkeypatch):
    """Return a function that makes a version of liger-kernel the one installed.

    All that is there of it is its metadata; None: there is none.
    """

    def install(found):
        if found is not None:
            folder = tmp_path / f"liger_kernel-{found}.dist-info"
            folder.mkdir()
            metadata = f"Metadata-Version: 2.1\nName: liger-kernel\nVersion: {found}\n"
            (folder / "METADATA").write_text(metadata)
            monkeypatch.syspath_prepend(tmp_path)
            return
        try:
            pytest.skip(f"liger-kernel {version('liger-kernel')} is installed here")
        except PackageNotFoundError:
            return

    return install


def pytest_terminal_summary(terminalreporter):
    """Print what tests recorded as `losses`, a line each."""
    rows = [
        value
        for report in terminalreporter.stats.get("passed", [])
        if report.when == "call"
        for name, value in report.user_properties
        if name == "losses"
    ]
    if rows:
        terminalreporter.section("training losses, nats per token")
    for strategy, precision, ranks, *losses in rows:
        shown = "  ".join(f"{loss:.6f}" for loss in losses)
        terminalreporter.write_line(
            f"{strategy:<26} {precision}  {ranks} rank(s)  {shown}"
        )
