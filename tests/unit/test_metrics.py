"""The files of numbers: read as written, and never another format or a damaged one."""

import pytest

from finished_run import (
    PROVENANCE,
    baseline_metrics,
    changed,
    data_metrics,
    evaluation,
    finetune_metrics,
    history,
    made_samples,
)
from retune.artifacts.data_metrics import DataMetrics
from retune.artifacts.evaluation_metrics import (
    BaselineMetrics,
    EvaluationMetrics,
    NoComparison,
    NoScores,
)
from retune.artifacts.finetune_metrics import FinetuneMetrics
from retune.artifacts.publishing import read_json, write_json, write_sealed
from retune.artifacts.samples import Samples
from retune.artifacts.training_history import StepHistory, ValidationHistory
from retune.errors import RetuneError

SEALED = [data_metrics(), finetune_metrics(8), baseline_metrics(), evaluation(-0.5)]
PLAIN = [PROVENANCE, made_samples()]


@pytest.mark.parametrize("metrics", SEALED, ids=lambda each: type(each).__name__)
def test_metrics_are_read_as_they_were_written(tmp_path, metrics):
    path, beside = tmp_path / "metrics.json", tmp_path / "beside"
    beside.write_text("x")
    metrics.write(path, beside)
    assert type(metrics).read_verified(path, beside) == metrics
    assert type(metrics).read(path) == metrics


@pytest.mark.parametrize("metrics", SEALED, ids=lambda each: type(each).__name__)
def test_damaged_metrics_are_refused(tmp_path, metrics):
    path, beside = tmp_path / "metrics.json", tmp_path / "beside"
    beside.write_text("x")
    metrics.write(path, beside)
    beside.write_text("y")
    with pytest.raises(RetuneError, match="beside is not what"):
        type(metrics).read_verified(path, beside)
    path.write_text(path.read_text().replace("1", "2", 1))
    with pytest.raises(RetuneError, match=f"run {metrics.STEP} again"):
        type(metrics).read_verified(path)


@pytest.mark.parametrize("metrics", SEALED, ids=lambda each: type(each).__name__)
def test_metrics_of_another_format_are_refused(tmp_path, metrics):
    path = tmp_path / "metrics.json"
    write_sealed(path, metrics.model_dump(mode="json") | {"format": 0})
    with pytest.raises(RetuneError, match=r"this version of retune writes \(format"):
        type(metrics).read_verified(path)


@pytest.mark.parametrize("artifact", PLAIN, ids=lambda each: type(each).__name__)
def test_plain_files_are_read_as_they_were_written(tmp_path, artifact):
    path = tmp_path / "artifact.json"
    artifact.write(path)
    assert type(artifact).read(path) == artifact
    write_json(path, read_json(path) | {"format": 0})
    with pytest.raises(RetuneError, match=f"run {artifact.STEP} again"):
        type(artifact).read(path)


def test_the_options_of_generation_keep_their_types(tmp_path):
    samples = made_samples()
    samples.write(tmp_path / "samples.json")
    sampled = read_json(tmp_path / "samples.json")["settings"]["sampled"]
    assert repr(sampled) == "{'do_sample': True, 'temperature': 0.8, 'top_k': 0}"
    assert Samples.read(tmp_path / "samples.json").settings == samples.settings


def test_a_split_without_documents_is_null(tmp_path):
    path = tmp_path / "metrics.json"
    empty = changed(baseline_metrics(), {"validation": NoScores()})
    empty.write(path)
    assert read_json(path)["validation"] == {
        "documents": 0,
        "bytes": 0,
        "words": 0,
        "tokens": 0,
        "nll": 0.0,
        "bits_per_byte": None,
        "bits_per_document": None,
        "token_perplexity": None,
        "word_perplexity": None,
    }
    assert BaselineMetrics.read(path) == empty
    compared = changed(evaluation(-0.5), {"validation": NoComparison()})
    compared.write(path)
    assert EvaluationMetrics.read(path) == compared


def test_a_run_that_was_not_resumed_names_no_step_of_it(tmp_path):
    path = tmp_path / "metrics.json"
    finetune_metrics(8).write(path)
    assert "resumed_from_step" not in read_json(path)
    changed(finetune_metrics(8), {"resumed_from_step": 3}).write(path)
    assert read_json(path)["resumed_from_step"] == 3
    assert FinetuneMetrics.read(path).resumed_from_step == 3


def test_all_documents_are_accounted_for():
    data = data_metrics()
    assert isinstance(data, DataMetrics)
    assert (data.kept_documents, data.raw_documents) == (52, 58)


def test_a_history_is_columns_of_numbers(tmp_path):
    path = tmp_path / "history.csv"
    path.write_text(history(3))
    table = StepHistory.read(path)
    assert table.step.tolist() == [1, 2, 3]
    assert table.seconds.tolist() == [2, 2, 2]
    assert str(table.forward_seconds.tolist()) == "[nan, nan, nan]"
    with pytest.raises(RetuneError, match=r"history.csv.*run finetune again"):
        ValidationHistory.read(path)


def test_a_history_without_rows_has_empty_columns(tmp_path):
    path = tmp_path / "validation.csv"
    path.write_text("step,validation_loss\n")
    assert ValidationHistory.read(path).validation_loss.shape == (0,)
    path.write_text("")
    with pytest.raises(RetuneError, match="run finetune again"):
        ValidationHistory.read(path)
