"""What one step writes another reads: the same, or one sentence that names the step."""

import json
from pathlib import Path

import pytest

from plans import make_plan
from retune.artifacts import model_facts, run_spec, tokens_index
from retune.artifacts.plan import Decision, Plan, Reasons
from retune.artifacts.publishing import SEAL
from retune.artifacts.run_spec import RunSpec
from retune.artifacts.tokens_index import TokenMetrics, TokensIndex
from retune.errors import RetuneError
from retune.planning.memory_prediction import predict_memory
from retune.settings import FinetuneSettings
from tiny_facts import tiny_facts
from token_files import make_token_metrics

REASONS = Reasons(
    decisions=(
        Decision("zero_stage", 2, "a reason"),
        Decision("activation_checkpointing", True, "a reason"),
        Decision("gradient_clipping", 1.0, "a reason"),
        Decision("precision", "fp32", "a reason"),
    ),
    warnings=("a warning",),
    train_blocks=3,
    memory=predict_memory(make_plan()),
    gpu_name=None,
)
RUN = RunSpec(
    settings=FinetuneSettings(learning_rate=1e-4),
    base=Path("models/base"),
    tokens=Path("data/tokens"),
    plan=make_plan(),
    deepspeed={"train_batch_size": 4},
)
INDEX = TokensIndex(
    sequence_length=8,
    has_answers=True,
    packing="best_fit",
    vocab_size=300,
    splits={
        "train": {"documents": 1, "sequences": 2, "tokens": 9, "bytes": 30, "blocks": 1}
    },
    dtype="<u2",
    bos_token_id=0,
    eos_token_id=1,
    tokenizer_sha256="0" * 64,
)
IN_A_FILE = [make_plan(), REASONS, make_token_metrics(160, 128)]
# Each with the name of its file and the step that writes it.
IN_A_FOLDER = [
    (tiny_facts(), model_facts.FILE, "fetch"),
    (RUN, run_spec.FILE, "finetune"),
    (INDEX, tokens_index.INDEX, "tokenize"),
]


@pytest.mark.parametrize("value", IN_A_FILE, ids=lambda value: type(value).__name__)
def test_a_sealed_file_is_read_as_it_was_written(value, tmp_path):
    (tmp_path / "beside").write_text("text")
    value.write(tmp_path / "it.json", tmp_path / "beside")
    assert type(value).read(tmp_path / "it.json") == value
    read = type(value).read_verified(tmp_path / "it.json", tmp_path / "beside")
    assert read == value
    (tmp_path / "beside").write_text("next")
    with pytest.raises(RetuneError, match=f"beside is not what {value.STEP} wrote"):
        type(value).read_verified(tmp_path / "it.json", tmp_path / "beside")


def test_the_value_of_a_decision_keeps_its_type(tmp_path):
    REASONS.write(tmp_path / "reasons.json")
    decisions = Reasons.read(tmp_path / "reasons.json").decisions
    assert [type(each.value) for each in decisions] == [int, bool, float, str]


@pytest.mark.parametrize(
    ("value", "file", "step"), IN_A_FOLDER, ids=lambda value: type(value).__name__
)
def test_a_file_of_a_folder_is_read_as_it_was_written(value, file, step, tmp_path):
    value.write(tmp_path)
    assert type(value).read(tmp_path) == value
    path = tmp_path / file
    whole = path.read_text()
    for text, problem in (
        (json.dumps({**json.loads(whole), "format": 0}), "format: "),
        (json.dumps({**json.loads(whole), "more": 0}), "more: "),
        (json.dumps([]), ""),
        (whole[:20], "Invalid JSON"),
    ):
        path.write_text(text)
        with pytest.raises(RetuneError) as error:
            type(value).read(tmp_path)
        told = f"{path}: not what this version of retune writes ({problem}"
        assert str(error.value).startswith(told)
        assert str(error.value).endswith(f"): run {step} again")


@pytest.mark.parametrize("model", [Plan, Reasons, TokenMetrics])
def test_a_sealed_file_of_another_version_says_so(model, tmp_path):
    path = tmp_path / "it.json"
    for text in ('{"format": 0}', "[]", "{"):
        path.write_text(text)
        with pytest.raises(RetuneError, match=f"not what .* run {model.STEP} again"):
            model.read(path)
    with pytest.raises(RetuneError, match="its bytes have changed"):
        model.read_verified(path)


def test_the_seal_is_no_field(tmp_path):
    make_plan().write(tmp_path / "plan.json")
    assert SEAL in json.loads((tmp_path / "plan.json").read_text())
    assert SEAL not in Plan.model_fields
