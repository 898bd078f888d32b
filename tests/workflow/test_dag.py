"""Which setting reruns which steps: a contract, and what the manual promises."""

import pytest
import yaml

from retune.explain_reruns import find_reruns
from retune.manual import ROOT
from retune.settings import Params
from retune.stages import read_stages
from retune.steps import CODE

AFTER_CONFIGURE = {"finetune", "consolidate", "evaluate", "report"}
AFTER_TOKENIZE = {"configure", *AFTER_CONFIGURE}

# section -> (one changed value, what reruns)
CHANGES = {
    "dataset": (
        {"source": "local", "files": {"train": ["a.jsonl"]}},
        set(CODE) - {"fetch"},
    ),
    "model": (
        {"source": "builtin", "n_layer": 2},
        {"fetch", "tokenize", "baseline", *AFTER_TOKENIZE},
    ),
    "prepare": ({"seed": 7}, {"prepare", "tokenize", "baseline", *AFTER_TOKENIZE}),
    "tokenize": ({"sequence_length": 64}, {"tokenize", *AFTER_TOKENIZE}),
    "hardware": ({"gpus_per_node": 4}, AFTER_TOKENIZE),
    "configure": ({"global_batch_size": 32}, AFTER_TOKENIZE),
    "finetune": ({"learning_rate": 1e-3}, AFTER_CONFIGURE),
    "consolidate": (
        {"max_shard_size_gb": 1},
        {"consolidate", "evaluate", "report"},
    ),
    "evaluate": ({"seed": 7}, {"baseline", "evaluate", "report"}),
}


@pytest.fixture
def params(finished):
    """Yield params.yaml as a dict and a way to write it; put it back afterwards."""
    path = finished.folder / "params.yaml"
    text = path.read_text()
    yield yaml.safe_load(text), lambda values: path.write_text(yaml.safe_dump(values))
    path.write_text(text)


def test_every_section_has_its_case():
    assert set(CHANGES) == set(Params.model_fields)


def test_explain_reruns_says_the_same():
    rows = find_reruns(read_stages(ROOT / "dvc.yaml"))
    explained = {row.section: set(row.steps) for row in rows}
    assert explained == {section: steps for section, (_, steps) in CHANGES.items()}


def test_a_first_run_runs_every_step(workspace):
    assert workspace.planned() == set(CODE)


def test_a_finished_run_has_nothing_to_do(finished):
    assert finished.planned() == set()


@pytest.mark.parametrize("section", CHANGES)
def test_a_changed_setting_reruns_what_depends_on_it(finished, params, section):
    values, write = params
    (finished.folder / "a.jsonl").write_text('{"text": "one document"}\n')
    change, expected = CHANGES[section]
    old = values[section] if isinstance(values[section], dict) else {}
    write({**values, section: {**old, **change}})
    assert finished.planned() == expected


def test_spelling_order_and_comments_rerun_nothing(finished, params):
    values, write = params
    values["finetune"]["epochs"] = "1.0e+00"
    values["model"] = {"source": "builtin"}
    write(dict(reversed(values.items())))
    assert finished.planned() == set()


@pytest.mark.parametrize(
    ("module", "first"),
    [("training/packing", "finetune"), ("scoring/bootstrap", "evaluate")],
)
def test_changed_code_reruns_its_step(finished, module, first):
    path = finished.folder / f"workflow/retune/{module}.py"
    text = path.read_text()
    path.write_text(text + "\n")
    try:
        planned = finished.planned()
    finally:
        path.write_text(text)
    assert first in planned
    assert "tokenize" not in planned


def test_a_changed_file_of_the_user_reruns_download(workspace):
    path = workspace.folder / "params.yaml"
    path.write_text(path.read_text().replace("dataset: builtin", "dataset: my.jsonl"))
    mine = workspace.folder / "my.jsonl"
    mine.write_text('{"text": "one document"}\n')
    workspace.looks_finished()
    assert workspace.planned() == set()
    mine.write_text('{"text": "another document"}\n')
    assert workspace.planned() == set(CODE) - {"fetch"}


def test_a_missing_file_of_the_user_is_named_before_anything_runs(workspace):
    path = workspace.folder / "params.yaml"
    path.write_text(
        path.read_text().replace("dataset: builtin", "dataset: nowhere.jsonl")
    )
    result = workspace.snakemake("--cores", "1", "train")
    assert result.returncode == 1
    assert "dataset.files.train: no file matches nowhere.jsonl" in result.stderr
    assert "Traceback" not in result.stderr


def test_touched_code_reruns_nothing(finished):
    for path in (finished.folder / "workflow").rglob("*"):
        path.touch()
    assert finished.planned() == set()


def test_the_default_target_is_the_main_job(workspace):
    result = workspace.snakemake("--dry-run")
    assert result.returncode == 0
    for step in CODE:
        assert f"\n{step} " in result.stdout + result.stderr


def test_wrong_settings_stop_in_a_few_lines(workspace):
    path = workspace.folder / "params.yaml"
    path.write_text(path.read_text().replace("epochs: 1", "epoch: 1"))
    result = workspace.snakemake("--cores", "1", "train")
    assert result.returncode == 1
    shown = result.stdout + result.stderr
    assert "finetune.epoch: unknown key; did you mean epochs?" in shown
    assert "Traceback" not in shown
    assert len(shown.splitlines()) <= 5
    assert not (workspace.folder / "data").exists()
