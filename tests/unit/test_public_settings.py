"""Settings on a card name no folder of the machine that trained."""

import pytest

from retune.reporting.public_settings import settings_text
from retune.settings.params import read_params

SECRET = "/home/me/secret/mine.jsonl"


@pytest.mark.parametrize(
    "dataset",
    [SECRET, {"sources": {"mine": SECRET, "other": {"files": [SECRET, "b.csv"]}}}],
)
def test_files_outside_the_project_are_shown_by_their_last_names(dataset):
    shown = settings_text(read_params({"dataset": dataset, "model": "builtin"}))
    assert "mine.jsonl" in shown
    assert "secret" not in shown


def test_a_deepspeed_config_outside_the_project_is_shown_by_its_last_name():
    given = {"deepspeed_config": "/home/me/secret/ds.json"}
    params = {"dataset": "builtin", "model": "builtin", "configure": given}
    shown = settings_text(read_params(params))
    assert "deepspeed_config: ds.json" in shown
    assert "secret" not in shown
