"""Each strategy, kernel and precision trains as fp32 on the CPU does."""

from collections import Counter

import pytest
import torch
from transformers import AutoModelForCausalLM

from device_cells import CELLS, TOLERANCE, check_losses
from retune.artifacts.memory_prediction import MEASURED_AS
from retune.measuring.history import read_measurements
from retune.settings import ConsolidateSettings
from retune.steps import consolidate
from retune.tokens.blocks import PackedBlocks

USUAL = [name for name, cell in CELLS.items() if not cell.needs_compiler]


@pytest.mark.parametrize("name", USUAL)
def test_losses_are_those_of_the_cpu(run, trained, on_cpu, name):
    if name not in trained:
        pytest.skip(f"not possible on {run.device} in this version")
    check_losses(trained[name], on_cpu, CELLS[name])


@pytest.mark.parametrize("name", ["ZeRO-3", "bf16", "LoRA", "QLoRA", "fp16"])
@torch.no_grad()
def test_the_published_model_has_the_loss(run, trained, tmp_path, name):
    if name not in trained:
        pytest.skip(f"not possible on {run.device}")
    job = trained[name]
    base = run.folder / "base"
    consolidate.run(ConsolidateSettings(), base, job.checkpoint, tmp_path / "model")
    model = AutoModelForCausalLM.from_pretrained(
        tmp_path / "model", dtype=torch.float32, attn_implementation="eager"
    ).eval()
    blocks = PackedBlocks(run.folder / "tokens", "validation")
    batch = blocks.batch(range(len(blocks)))
    logits = model(
        input_ids=torch.as_tensor(batch.input_ids),
        position_ids=torch.as_tensor(batch.position_ids),
        use_cache=False,
    ).logits
    labels = torch.as_tensor(batch.labels)
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten())
    tolerance = TOLERANCE[CELLS[name].precision]
    assert loss.item() == pytest.approx(job.validation_loss, abs=tolerance)


def test_the_memory_of_each_phase_is_measured_on_a_gpu(trained, run):
    measured = read_measurements(trained["whole"].state)
    by_phase = measured.peak_memory_gb_by_phase
    if run.device == "cpu":
        assert by_phase == {}
        return
    assert {*by_phase} == {*MEASURED_AS} - {"resume"}
    assert max(by_phase.values()) == max(measured.peak_memory_gb)
    assert by_phase["training"] > by_phase["load"] > 0


@pytest.mark.parametrize(
    ("one", "four", "most"),
    [
        ("bf16 varlen", "bf16 varlen accumulation", 0),
        # Transformers looks whether there is more than one document.
        ("bf16 sdpa", "bf16 sdpa accumulation", 1),
    ],
)
def test_the_host_does_not_wait_for_micro_batches(trained, run, one, four, most):
    if one not in trained:
        pytest.skip(f"not possible on {run.device} in this version")
    # The first steps allocate.
    for of_one, of_four in zip(
        trained[one].waits[2:], trained[four].waits[2:], strict=True
    ):
        more = Counter(of_four) - Counter(of_one)
        assert more.total() <= 3 * most, more
