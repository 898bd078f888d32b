"""Two pipeline stages train as one model does: losses, norms, weights, checkpoints."""

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from transformers import GPT2Config, OPTConfig

from plans import make_plan
from retune.artifacts.publishing import read_json
from retune.engines.pipeline import load_pipeline
from retune.errors import RetuneError

RANKS = Path(__file__).parents[1] / "pipeline_ranks.py"
FP32 = ["gpt2", "llama", "llama-tied", "mistral", "qwen2", "qwen3"]
BF16 = ["gpt2", "llama"]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What two ranks found, in one start."""
    folder = tmp_path_factory.mktemp("pipeline")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ranks = []
    for rank in range(2):
        environment = os.environ | {
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": "2",
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            "DS_ACCELERATOR": "cpu",
            "PYTHONPATH": os.pathsep.join(sys.path),
        }
        with (folder / f"rank{rank}.log").open("w") as log:
            command = [sys.executable, str(RANKS), str(folder), "2"]
            ranks.append(
                subprocess.Popen(command, env=environment, stdout=log, stderr=log)
            )
    try:
        codes = [rank.wait(timeout=280) for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
            rank.wait()
    logs = [(folder / f"rank{rank}.log").read_text()[-3000:] for rank in range(2)]
    assert codes == [0, 0], "\n".join(logs)
    return read_json(folder / "results.json")


@pytest.mark.parametrize("model", FP32)
def test_a_pipeline_trains_as_the_whole_model_does(results, model):
    result = results[f"{model} fp32"]
    whole, cut = result["whole"], result["cut"]
    assert cut["losses"] == pytest.approx(whole["losses"], rel=1e-6)
    assert cut["norms"] == pytest.approx(whole["norms"], rel=1e-6)
    assert cut["evaluated"] == pytest.approx(whole["evaluated"], rel=1e-6)
    # Clipped at 0.5; and the steps changed something.
    assert min(cut["norms"]) > 1
    assert len(set(cut["losses"])) == len(cut["losses"])
    # Adam divides a weight's gradient by its own size: where it is nearly 0, rounding
    # shows. The learning rate is 0.01, and there are 3 steps.
    assert result["same_names"]
    assert result["difference"] < 1e-4


@pytest.mark.parametrize("model", BF16)
def test_in_bf16_it_does_but_for_rounding(results, model):
    whole, cut = results[f"{model} bf16"]["whole"], results[f"{model} bf16"]["cut"]
    assert cut["losses"] == pytest.approx(whole["losses"], rel=2e-3)
    assert cut["norms"] == pytest.approx(whole["norms"], rel=1e-2)
    # Before the first step's rounding spreads. A tied embedding counted twice would
    # make GPT-2's norm 4 % larger.
    assert cut["norms"][0] == pytest.approx(whole["norms"][0], rel=2e-4)


@pytest.mark.parametrize("model", FP32)
def test_each_rank_holds_its_stage_and_no_more(results, model):
    first, last = results[f"{model} fp32"]["cut"]["ranks"]
    assert not set(first["names"]) & set(last["names"])
    sizes = sorted([first["size"], last["size"]])
    assert sizes[1] < 1.1 * sizes[0]


@pytest.mark.parametrize(("case", "calls"), [("gpt2 fp32", 1), ("gpt2 bf16", 2)])
def test_activation_checkpointing_computes_a_layer_twice(results, case, calls):
    assert [r["mlp_calls"] for r in results[case]["cut"]["ranks"]] == [calls] * 2


@pytest.mark.parametrize("case", ["gpt2 fp32", "gpt2 bf16", "llama-tied fp32"])
def test_both_copies_of_a_tied_embedding_stay_alike(results, case):
    assert results[case]["cut"]["tied_alike"]


@pytest.mark.parametrize("model", FP32)
def test_layer_files_name_every_weight_once(results, model):
    cut = results[f"{model} fp32"]["cut"]
    files = {f: names for r in cut["ranks"] for f, names in r["files"].items()}
    assert len(files) == sum(len(rank["files"]) for rank in cut["ranks"])
    full = sorted(name for names in files.values() for name in names.values())
    assert full == sorted(name for rank in cut["ranks"] for name in rank["names"])


def test_the_layer_files_are_those_of_a_checkpoint(results):
    files = {
        file: sorted(names)
        for rank in results["gpt2 fp32"]["cut"]["ranks"]
        for file, names in rank["files"].items()
    }
    assert results["resumed fp32"]["saved"] == files


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_checkpoint_continues_bit_for_bit_with_dropout_and_evaluation(
    results, precision
):
    result = results[f"resumed {precision}"]
    assert result["loaded"]
    assert result["resumed"] == result["through"]
    assert result["same_weights"] == [True, True]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_gradient_of_one_stage_that_is_not_finite_makes_all_skip(results, precision):
    for kept, moved, skipped in results[f"not finite {precision}"]["ranks"]:
        assert kept
        assert skipped == 1
        assert moved


def test_a_family_that_cannot_be_cut_is_named(tmp_path):
    OPTConfig().save_pretrained(tmp_path)
    with pytest.raises(RetuneError, match="pipeline_stages: 2, but opt models"):
        load_pipeline(tmp_path, make_plan(pipeline_stages=2))


def test_there_are_no_more_stages_than_layers(tmp_path):
    GPT2Config(n_layer=3).save_pretrained(tmp_path)
    with pytest.raises(RetuneError, match="4, but the model has 3 decoder layers"):
        load_pipeline(tmp_path, make_plan(pipeline_stages=4))
