"""What dvc.lock records of a step, compared with what a run goes by."""

import pytest

from retune.settings.params import read_params
from retune_dvc.dvc_files import read_lock_entry
from retune_dvc.recorded_inputs import (
    is_changed_by_resolved_alone,
    is_recorded_with,
    md5_of,
)
from retune_dvc.resolve import resolve
from retune_dvc.stages import Stage

STAGE = Stage(("finetune.learning_rate",), (), (), ("dataset",))
LIST = "resolved/dataset_files.txt"


@pytest.fixture
def resolved():
    params = {"dataset": "builtin", "model": "builtin"}
    params["finetune"] = {"learning_rate": 1e-5}
    return resolve(read_params(params), {"dataset": [], "model": [], "configure": []})


@pytest.fixture
def entry(resolved):
    """What DVC writes of the step in such a run: numbers by YAML 1.2."""
    return {
        "params": {
            "resolved/params.yaml": {"finetune.learning_rate": "1e-05"},
            "resolved/code.yaml": {"finetune": resolved.code["finetune"]},
        },
        "deps": [{"path": LIST, "md5": md5_of(resolved.texts()[LIST].encode())}],
    }


def is_recorded(entry, resolved):
    return is_recorded_with(read_lock_entry(entry), "finetune", STAGE, resolved)


def test_a_step_is_recorded_with_what_a_run_goes_by(entry, resolved):
    assert is_recorded(entry, resolved)


@pytest.mark.parametrize("kind", ["setting", "code", "files"])
def test_another_setting_code_or_file_is_noticed(entry, resolved, kind):
    match kind:
        case "setting":
            params = entry["params"]["resolved/params.yaml"]
            params["finetune.learning_rate"] = "2e-05"
        case "code":
            entry["params"]["resolved/code.yaml"]["finetune"] = "0" * 16
        case "files":
            entry["deps"][0]["md5"] = "0" * 32
    assert not is_recorded(entry, resolved)


@pytest.mark.parametrize(
    ("changes", "alone"),
    [
        ([], True),
        ([{"changed deps": {"resolved/params.yaml": {"a.b": "modified"}}}], True),
        ([{"changed deps": {LIST: "modified", "data/raw": "modified"}}], False),
        ([{"changed outs": {"models/base": "deleted"}}], False),
        (["changed command"], False),
    ],
)
def test_what_resolved_alone_changes(changes, alone):
    assert is_changed_by_resolved_alone(changes) is alone
