"""Packed rows with a mask train as the same rows do one by one, however it is done."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from retune.artifacts.publishing import read_json
from training_ranks import environment_of_ranks, free_port

RANKS = Path(__file__).parents[1] / "packed_ranks.py"
STRATEGIES = ["ZeRO-1", "ZeRO-2", "ZeRO-3", "LoRA", "pipeline"]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What two ranks found, in one start."""
    folder = tmp_path_factory.mktemp("packed")
    shared = environment_of_ranks() | {
        "MASTER_PORT": str(free_port()),
        "WORLD_SIZE": "2",
    }
    with (folder / "ranks.log").open("w") as log:
        ranks = [
            subprocess.Popen(
                [sys.executable, str(RANKS), str(folder)],
                env=shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
                stdout=log,
                stderr=log,
            )
            for rank in range(2)
        ]
    try:
        codes = [rank.wait(timeout=280) for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
            rank.wait()
    assert codes == [0, 0], (folder / "ranks.log").read_text()[-3000:]
    return read_json(folder / "results.json")


@pytest.mark.parametrize("family", ["gpt2", "llama"])
@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("kernels", ["whole", "fast"])
def test_losses_and_gradients_are_those_of_the_rows(results, family, strategy, kernels):
    result = results[f"{family} {strategy} {kernels}"]
    assert result["packed"] == pytest.approx(result["rows"], rel=1e-6)
    assert result["same_names"]
    # Rounding: in fp32 the gradients of the rows are as far from those in fp64.
    assert result["difference"] < 2e-6
    assert result["gradient"] > 0.1
