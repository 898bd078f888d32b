"""A dry run says what would run and why, as Snakemake and DVC know it.

These tests run Snakemake: what is read of its private parts must be there.
"""

import base64
import shutil

import pytest
import yaml

from planned_steps import read_reasons
from retune.step_code import STEPS
from retune_workflow.dry_run import WIDTH


@pytest.fixture
def job(finished, tmp_path):
    """A copy of a run that looks finished."""
    shutil.copytree(finished.folder, tmp_path / "job", symlinks=True)
    return type(finished)(tmp_path / "job")


def change(job, section, **settings):
    path = job.folder / "params.yaml"
    params = yaml.safe_load(path.read_text())
    params[section] |= settings
    path.write_text(yaml.safe_dump(params))


def shown_by(job, *arguments):
    result = job.snakemake("--dry-run", *arguments, "train")
    assert result.returncode == 0, result.stderr
    return result.stdout + result.stderr


def reasons(job, *arguments):
    return read_reasons(shown_by(job, *arguments))


def test_a_first_run_is_a_line_a_step(workspace):
    shown = shown_by(workspace)
    assert read_reasons(shown) == dict.fromkeys(STEPS, "not run yet")
    assert len(shown.splitlines()) <= len(STEPS) + 3


def test_without_a_change_there_is_one_line(finished):
    lines = shown_by(finished).splitlines()
    assert lines[-1].startswith("Nothing to be done: ")
    assert len(lines) <= 2  # the first names the profile


def test_a_changed_setting_is_told_with_both_values_where_it_counts(job):
    change(job, "finetune", learning_rate=0.0003)
    assert reasons(job) == {
        "finetune": "finetune.learning_rate: auto -> 0.0003",
        "consolidate": "follows finetune",
        "evaluate": "follows consolidate",
        "sample": "follows consolidate",
        "report": "follows evaluate, sample",
        "publish": "follows evaluate, sample",
    }


def test_several_changed_settings_are_all_told(job):
    change(job, "prepare", min_characters=3)
    change(job, "finetune", learning_rate=0.0003, epochs=2)
    change(job, "hardware", accelerator="cuda", nodes=1)
    # A setting of a section that the step is given in part.
    change(job, "evaluate", stride=8)
    shown = shown_by(job)
    found = read_reasons(shown)
    assert found["prepare"] == "prepare.min_characters: 20 -> 3"
    assert found["tokenize"] == "follows prepare"
    device = "hardware.accelerator: cpu -> cuda"
    assert found["baseline"] == (
        f"evaluate.stride: auto -> 8; {device}; follows prepare"
    )
    assert found["configure"] == f"{device}; follows tokenize"
    assert found["finetune"] == (
        "finetune.epochs: 1 -> 2; finetune.learning_rate: auto -> 0.0003;"
        " follows configure"
    )
    assert max(map(len, shown.splitlines()[1:])) <= WIDTH


def test_another_dataset_and_model_are_named(job):
    params = job.folder / "params.yaml"
    text = params.read_text().replace("dataset: builtin", "dataset: wikitext")
    params.write_text(text.replace("model: builtin", "model: gpt2"))
    found = reasons(job)
    assert found["download"] == "dataset: builtin -> hub Salesforce/wikitext"
    assert found["fetch"] == "model: builtin -> hub openai-community/gpt2"


def test_another_mixture_of_sources_only_trains_again(workspace):
    sources = {"mine": "mine.jsonl", "python": "builtin"}
    (workspace.folder / "mine.jsonl").write_text('{"text": "one document"}\n')
    params = workspace.folder / "params.yaml"
    values = yaml.safe_load(params.read_text())
    params.write_text(yaml.safe_dump(values | {"dataset": {"sources": sources}}))
    workspace.looks_finished()
    change(workspace, "finetune", mix={"mine": 2, "python": {"rows": 100}})
    found = reasons(workspace)
    assert found.pop("finetune") == (
        'finetune.mix.mine: absent -> 2; finetune.mix.python: absent -> {"rows": 100}'
    )
    assert set(found) == {"consolidate", "evaluate", "sample", "report", "publish"}


def test_changed_code_is_named_and_no_other(job):
    for module in ("training/saver", "evaluation/bootstrap"):
        with (job.folder / f"workflow/retune/{module}.py").open("a") as file:
            file.write("CHANGED = True\n")
    for path in (job.folder / "workflow").rglob("*.py"):
        path.touch()
    found = reasons(job)
    assert found["finetune"] == "retune/training/saver.py changed"
    assert found["evaluate"] == (
        "retune/evaluation/bootstrap.py changed; follows consolidate"
    )


def test_a_missing_result_is_named(job):
    shutil.rmtree(job.folder / "models/base")
    (job.folder / "metrics/data.json").unlink()
    change(job, "tokenize", sequence_length=64)
    change(job, "prepare", min_characters=3)
    found = reasons(job)
    assert found["fetch"] == "models/base missing"
    assert found["prepare"] == (
        "metrics/data.json missing; prepare.min_characters: 20 -> 3"
    )


def test_a_forced_step_is_called_so_and_the_others_are_not(job):
    found = reasons(job, "--forcerun", "consolidate")
    assert found["consolidate"] == "forced"
    assert found["evaluate"] == "follows consolidate"
    assert set(reasons(job, "--forceall").values()) <= {
        "forced",
        *(f"forced; follows {step}" for step in STEPS),
        "forced; follows fetch, prepare",
        "forced; follows baseline, consolidate",
        "forced; follows evaluate, sample",
    }


def test_a_file_of_the_user_is_named(workspace):
    texts = workspace.folder / "texts.jsonl"
    texts.write_text('{"text": "one"}\n')
    change_dataset(workspace, "texts.jsonl")
    workspace.looks_finished()
    assert workspace.planned() == set()
    texts.write_text('{"text": "one"}\n{"text": "another"}\n')
    assert reasons(workspace)["download"] == "texts.jsonl changed"


def change_dataset(job, dataset):
    path = job.folder / "params.yaml"
    params = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump(params | {"dataset": dataset}))


def test_what_was_being_made_when_a_run_was_killed_was_interrupted(job):
    name = base64.urlsafe_b64encode(b"data/tokens").decode()
    (job.folder / ".snakemake/incomplete" / name).write_text("")
    assert reasons(job)["tokenize"] == "was interrupted"


def test_without_a_record_of_the_run_that_is_told(job):
    shutil.rmtree(job.folder / ".snakemake")
    (job.folder / "metrics/tokens.json").touch()
    found = reasons(job)
    assert found["configure"] == "nothing records how its outputs were made"


@pytest.mark.parametrize("option", ["--verbose", "--printshellcmds"])
def test_snakemakes_own_words_are_shown_to_those_who_ask(job, option):
    change(job, "finetune", learning_rate=0.0003)
    shown = shown_by(job, option)
    assert "Job stats:" in shown
    assert "Params have changed since last execution" in shown
    assert "would run" not in shown


def test_the_summary_of_snakemake_is_a_table(finished):
    result = finished.snakemake("--summary", "train")
    assert result.returncode == 0
    assert result.stdout.startswith("output_file\tdate\trule")
