"""What the workflow plans to run, and what it refuses. Settings: test_reruns."""

from retune.step_code import STEPS


def test_a_first_run_runs_every_step(workspace):
    assert workspace.planned() == set(STEPS)


def test_a_finished_run_has_nothing_to_do(finished):
    assert finished.planned() == set()


def test_a_changed_file_of_the_user_reruns_download(workspace):
    path = workspace.folder / "params.yaml"
    path.write_text(path.read_text().replace("dataset: builtin", "dataset: my.jsonl"))
    mine = workspace.folder / "my.jsonl"
    mine.write_text('{"text": "one document"}\n')
    workspace.looks_finished()
    assert workspace.planned() == set()
    mine.write_text('{"text": "another document"}\n')
    assert workspace.planned() == set(STEPS) - {"fetch"}


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
    for step in STEPS:
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
