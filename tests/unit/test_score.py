"""Predicted beside measured, in the words of lines and tables."""

import pytest

from finished_run import changed, finetune_metrics
from plans import make_plan, reasons_of
from retune.artifacts.memory_prediction import MemoryPrediction, PhaseMemory
from retune.planning.prediction_line import gigabytes, prediction_line, seconds
from retune.planning.score import Score, deviation
from retune.units import GB

ON_GPU = make_plan(accelerator="cuda")
ON_CPU = make_plan()


def predicted(plan, weights_gb=63.0, **values):
    """Return the reasons for a plan with a peak of so many GB of tensors."""
    context = round(0.7 * GB) if plan.accelerator == "cuda" else 0
    held = {"weights": round(weights_gb * GB), "context": context}
    phases = (PhaseMemory("load", {"weights": 1}), PhaseMemory("step", held))
    memory = MemoryPrediction(phases, 0, 0, 0, "traced")
    return reasons_of(plan, **{"memory": memory, **values})


def measured(**values):
    return changed(finetune_metrics(8), {"peak_memory_gb_by_phase": {}, **values})


def test_a_plan_says_what_is_predicted_in_a_few_words():
    def line(**values):
        return prediction_line(ON_GPU, predicted(ON_GPU, **values))

    assert line(gpu_memory_gb=80, step_seconds=3.14) == (
        "63.7 of 80 GB and 3.1 s/step predicted"
    )
    assert line(step_seconds=12.3) == "63.7 GB and 12 s/step predicted"
    assert prediction_line(ON_CPU, predicted(ON_CPU, 0.41)) == ""


def test_on_a_gpu_tensors_are_compared_and_the_time_of_a_step():
    numbers = measured(peak_memory_gb=(40.0, 60.0), step_seconds=2.5)
    score = Score.of(ON_GPU, predicted(ON_GPU, step_seconds=2.0), numbers)
    assert score.line == (
        "60.0 GB of tensors at most (63.0 GB predicted, 5.0 % too much),"
        " 2.5 s/step (2 predicted, 20.0 % too little)"
    )
    assert score.rows == [
        ("most tensors of a rank", "63.0 GB", "60.0 GB", "5.0 % too much"),
        ("time of a step", "2 s", "2.5 s", "20.0 % too little"),
    ]


def test_on_a_gpu_each_phase_is_compared_that_is_measured():
    gb = {"load": 1.0, "optimizer_init": 2.0, "forward": 3.0, "backward": 4.0}
    gb |= {"step": 3.5, "validation": 2.5, "save": 2.0}
    phases = tuple(
        PhaseMemory(name, {"weights": round(size * GB), "context": round(0.7 * GB)})
        for name, size in gb.items()
    )
    memory = MemoryPrediction(phases, 0, 0, 0, "traced")
    by_phase = {"load": 1.0, "optimizer_init": 2.5, "training": 4.1, "save": 2.0}
    # What is loaded to be resumed is not predicted.
    numbers = measured(peak_memory_gb_by_phase={**by_phase, "resume": 3.0})
    score = Score.of(ON_GPU, predicted(ON_GPU, memory=memory), numbers)
    assert [phase.row for phase in score.phases] == [
        ("while loading", "1.00 GB", "1.00 GB", "right"),
        ("while making the optimizer", "2.00 GB", "2.50 GB", "20.0 % too little"),
        ("in training steps", "4.00 GB", "4.10 GB", "2.4 % too little"),
        ("while saving", "2.00 GB", "2.00 GB", "right"),
    ]
    first, *rest = score.rows
    assert first[0] == "most tensors of a rank"
    assert rest[:4] == [phase.row for phase in score.phases]


def test_on_a_cpu_it_is_said_what_grew_and_no_percentage():
    numbers = measured(peak_memory_gb=(0.9, 0.8), memory_before_gb=(0.4, 0.2))
    score = Score.of(ON_CPU, predicted(ON_CPU, 0.41), numbers)
    assert score.line == ""
    [row] = score.rows
    assert row[1:3] == (
        "0.41 GB of tensors",
        "0.60 GB more than before the model was loaded",
    )


def test_without_reasons_there_is_no_score(tmp_path):
    ON_CPU.write(tmp_path / "plan.json")
    assert Score.read(tmp_path, measured()) is None
    (tmp_path / "reasons.json").write_text('{"format": 0}')
    assert Score.read(tmp_path, measured()) is None
    predicted(ON_CPU).write(tmp_path / "reasons.json")
    assert Score.read(tmp_path, measured()) == Score.of(
        ON_CPU, predicted(ON_CPU), measured()
    )


@pytest.mark.parametrize(
    ("prediction", "told"),
    [(1.0, "right"), (0.25, "75.0 % too little"), (30, "2,900.0 % too much")],
)
def test_a_deviation_is_a_share_of_what_was_measured(prediction, told):
    assert deviation(prediction, 1.0) == told


def test_numbers_are_as_short_as_they_are_useful():
    assert [gigabytes(value) for value in (1234.5, 12.34, 1.234, 0.00123)] == [
        *("1,234.5 GB", "12.3 GB", "1.23 GB", "0.0012 GB")
    ]
    assert [seconds(value) for value in (1234.5, 12.3, 3.14, 0.0423)] == [
        *("1,234", "12", "3.1", "0.042")
    ]
