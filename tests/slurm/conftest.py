"""A cluster for all tests here, and a run on it that each of them may copy."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster_run import ClusterRun, make_cluster_run
from slurm_cluster import COMMANDS, DAEMONS, Cluster, require


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    require(*COMMANDS, *DAEMONS)
    # Not in pytest's own folder: the path of a socket must be short.
    folder = Path(tempfile.mkdtemp(prefix="retune-slurm-"))
    cluster = Cluster(folder / "c")
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def finished(cluster, tmp_path_factory) -> ClusterRun:
    """The main job, run on the cluster with DVC beside it; tests leave it as it is."""
    run = make_cluster_run(tmp_path_factory.mktemp("cluster") / "job", cluster)
    run.commit("start")
    run.shown = run.snakemake("train")
    return run


@pytest.fixture
def run(finished, tmp_path) -> ClusterRun:
    """A copy of it, without DVC."""
    return finished.copy(tmp_path / "job")
