"""What has changed since DVC recorded a step."""

import pytest
from dvc.utils.serialize import dump_yaml

from retune.settings.params import read_params
from retune_dvc.resolve import RESOLVED_CODE, resolve, write_resolved
from retune_dvc.stages import RESOLVED_PARAMS
from retune_workflow.dvc_lock import find_recorded_changes, md5_of
from retune_workflow.file_changes import FileChanges

SETTINGS = {"dataset": "builtin", "model": "builtin"}


@pytest.fixture(autouse=True)
def recorded(tmp_path, monkeypatch):
    """A folder in which some steps were recorded."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "texts.jsonl").write_text("{}\n")
    write_resolved(resolved_of({}))
    write_lock()
    return tmp_path


def resolved_of(settings):
    sources = {"dataset": ["texts.jsonl"], "model": [], "configure": []}
    return resolve(read_params(SETTINGS | settings), sources)


def write_lock(tokens="a.dir", code=None):
    """Write dvc.lock, by DVC's own writer."""
    resolved = resolved_of({})
    listed = "resolved/dataset_files.txt"
    stages = {
        "download": {
            "deps": [{"path": listed, "md5": md5_of(resolved.texts()[listed].encode())}]
        },
        "tokenize": {"outs": [{"path": "data/tokens", "md5": tokens}]},
        "finetune": {
            "deps": [{"path": "data/tokens", "md5": "a.dir"}],
            "params": {
                RESOLVED_PARAMS: {"finetune": resolved.params["finetune"]},
                RESOLVED_CODE: {"finetune": code or resolved.code["finetune"]},
            },
        },
        "baseline": {"params": {RESOLVED_PARAMS: {"hardware.accelerator": "cpu"}}},
    }
    dump_yaml("dvc.lock", {"schema": "2.0", "stages": stages})


def changes(step="finetune", **settings):
    return find_recorded_changes(step, resolved_of(settings))


def test_what_is_as_recorded_has_not_changed(recorded):
    assert changes() == changes(finetune={"epochs": 1.0, "learning_rate": "auto"})
    assert (changes().settings, changes().inputs) == ((), ())


def test_a_setting_is_compared_as_it_is_meant():
    settings = changes(finetune={"epochs": 2, "learning_rate": 3e-4}).settings
    assert set(settings) == {
        "finetune.epochs: 1 -> 2",
        "finetune.learning_rate: auto -> 0.0003",
    }


def test_a_single_key_of_a_section_is_compared():
    assert changes("baseline", hardware={"accelerator": "cuda"}).settings == (
        "hardware.accelerator: cpu -> cuda",
    )


def test_changed_code_is_found():
    write_lock(code="0" * 16)
    assert changes().inputs == ("its code",)


def test_changed_files_of_the_user_are_named(recorded):
    assert changes("download").files == FileChanges()
    (recorded / "texts.jsonl").write_text('{"text": "other"}\n')
    assert changes("download").files == FileChanges(changed=("texts.jsonl",))


def test_other_data_of_another_step_are_found():
    write_lock(tokens="b.dir")
    assert changes().inputs == ("data/tokens",)


def test_files_of_the_user_are_told_without_names_once_their_list_is_another(recorded):
    (recorded / "texts.jsonl").write_text('{"text": "other"}\n')
    write_resolved(resolved_of({}))
    assert changes("download").files == FileChanges(changed=("files of yours",))


def test_a_number_as_dvc_writes_it_is_no_change(recorded):
    assert "1e-08" in (recorded / "dvc.lock").read_text()
    assert changes(finetune={"seed": 1}).settings == ("finetune.seed: 0 -> 1",)


def test_a_step_that_was_never_recorded_has_nothing_to_compare(recorded):
    assert changes("evaluate") is None
    (recorded / "dvc.lock").write_text("no: [yaml")
    assert changes() is None
    (recorded / "dvc.lock").unlink()
    assert changes() is None
