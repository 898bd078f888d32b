"""For all tests: a busy machine is no fault; the table of losses at the end."""

import gc
import os

from hypothesis import settings

# Where several tests run at once, torch's threads would only wait for each other.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


def pytest_collection_finish():
    """Have no garbage collection walk over all that the tests have imported."""
    gc.freeze()


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
