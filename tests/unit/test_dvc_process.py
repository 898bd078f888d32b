"""DVC's commands run in forked processes as in processes of their own."""

import os
import signal
import threading

import pytest
import yaml

from retune_dvc import commands
from retune_dvc.commands import call_dvc
from retune_dvc.dvc_process import DvcProcess, Request
from retune_dvc.errors import UnknownStateError


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A folder of DVC's with a stage, to work in."""
    monkeypatch.chdir(tmp_path)
    call_dvc("init", "--no-scm", "--quiet")
    stage = {"cmd": "sleep 1 && echo $WORD > word.txt", "outs": ["word.txt"]}
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"word": stage}}))
    return tmp_path


@pytest.fixture
def process():
    process = DvcProcess()
    yield process
    process.end()


def request_of(*arguments, **environment):
    variables = {**os.environ, "DVC_NO_ANALYTICS": "1", **environment}
    return Request(arguments, os.getcwd(), variables)


def test_a_command_has_the_folder_and_variables_of_its_request(repository, process):
    for word in ("one", "two"):
        assert process.run(request_of("repro", "--force", WORD=word)).code == 0
        assert (repository / "word.txt").read_text() == f"{word}\n"


def test_what_a_command_writes_is_returned(repository, process):
    ended = process.run(request_of("status", "--json"))
    assert (ended.code, ended.errors) == (0, "")
    assert "word" in ended.output
    ended = process.run(request_of("commit", "no-such-stage"))
    assert ended.code == 1
    assert "no-such-stage" in ended.errors


def test_words_that_are_no_command_are_an_error(repository, process):
    ended = process.run(request_of("no-such-command"))
    assert ended.code == 254
    assert "no-such-command" in ended.errors


def test_ctrl_c_lets_the_command_end(repository, process):
    # Where pytest was started in the background, SIGINT is ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process.run(request_of("version"))  # it has started
    timer = threading.Timer(0.7, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            process.run(request_of("repro", WORD="whole"))
    finally:
        timer.join()
        signal.signal(signal.SIGINT, before)
    assert (repository / "word.txt").read_text() == "whole\n"
    assert process.run(request_of("version")).code == 0


def test_where_the_process_has_gone_commands_run_without_it(repository, monkeypatch):
    process = DvcProcess()
    monkeypatch.setattr(commands, "DVC", process)
    call_dvc("version")
    process._process.kill()
    process._process.wait()
    assert "DVC version" in call_dvc("version")
    # And with a new one after that.
    assert process._process is None
    call_dvc("version")
    assert process._process is not None
    process.end()


def test_no_module_of_the_folder_takes_the_place_of_another(repository, process):
    for name in ("retune_dvc", "json", "dvc"):
        (repository / f"{name}.py").write_text("raise SystemExit('the wrong one')")
    assert process.run(request_of("version")).code == 0


def test_an_error_of_dvc_is_one_line(repository):
    with pytest.raises(UnknownStateError, match=r"no-such-stage[^\n]*$"):
        call_dvc("commit", "--force", "no-such-stage")


def test_the_process_ends_with_the_one_that_started_it():
    process = DvcProcess()
    process.run(request_of("version"))
    with process._process as started:
        started.stdin.close()
        assert started.wait(timeout=10) == 0
