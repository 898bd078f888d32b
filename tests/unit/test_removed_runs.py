"""The folder of a published run goes as a whole, whatever happens meanwhile."""

import os
import shutil
import signal

import pytest

from retune.steps import finetune


@pytest.fixture
def state(tmp_path):
    state = tmp_path / "state" / "run"
    (state / "step-00000002").mkdir(parents=True)
    return state


def test_signals_wait_until_a_run_is_removed(state, monkeypatch):
    rmtree = shutil.rmtree

    def interrupted(folder, **options):
        assert not state.exists()  # nobody resumes what is left of it
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        rmtree(folder, **options)

    monkeypatch.setattr(shutil, "rmtree", interrupted)
    finetune.remove_run(state)
    assert list(state.parent.iterdir()) == []


def test_what_a_kill_left_of_it_is_no_run(state, monkeypatch):
    monkeypatch.setattr(shutil, "rmtree", lambda *_, **__: None)
    finetune.remove_run(state)
    (left,) = state.parent.iterdir()
    assert left.name == f"{finetune.REMOVED}run"
