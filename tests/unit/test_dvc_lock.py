"""What has changed since DVC recorded a step."""

import hashlib

import pytest
import yaml

from retune.params import read_params
from retune_workflow.dvc_lock import find_recorded_changes

CODE = "workflow/retune/finetune.py"
SETTINGS = {"dataset": "builtin", "model": "builtin"}


@pytest.fixture(autouse=True)
def recorded(tmp_path, monkeypatch):
    """A folder in which `tokenize` and `finetune` were recorded."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / CODE).parent.mkdir(parents=True)
    (tmp_path / CODE).write_text("the code")
    write_lock()
    return tmp_path


def write_lock(tokens="a.dir", **finetune):
    code = hashlib.md5(b"the code").hexdigest()
    stages = {
        "tokenize": {"outs": [{"path": "data/tokens", "md5": tokens}]},
        "finetune": {
            "deps": [
                {"path": "data/tokens", "md5": "a.dir"},
                {"path": CODE, "md5": code},
            ],
            "params": {"params.yaml": {"finetune": {"epochs": 1}}},
        },
        "baseline": {"params": {"params.yaml": {"hardware.accelerator": "cpu"}}},
    }
    with open("dvc.lock", "w") as file:
        yaml.safe_dump({"schema": "2.0", "stages": stages}, file)


def changes(step="finetune", **settings):
    return find_recorded_changes(step, read_params(SETTINGS | settings))


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


def test_changed_code_is_found(recorded):
    (recorded / CODE).write_text("other code")
    assert changes().inputs == (CODE,)


def test_other_data_of_another_step_are_found():
    write_lock(tokens="b.dir")
    assert changes().inputs == ("data/tokens",)


def test_a_step_that_was_never_recorded_has_nothing_to_compare(recorded):
    assert changes("evaluate") is None
    (recorded / "dvc.lock").write_text("no: [yaml")
    assert changes() is None
    (recorded / "dvc.lock").unlink()
    assert changes() is None
