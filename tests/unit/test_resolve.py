"""The folder `resolved`: the same for the same run, however that is written."""

import os
import shlex
import subprocess

import pytest
import yaml

from retune import step_code
from retune.errors import RetuneError
from retune.settings.params import read_params
from retune.sources import file_hashes
from retune_dvc import resolve as resolving
from retune_dvc.resolve import (
    RESOLVED_CODE,
    STAGE_FILE,
    read_resolved,
    resolve,
    write_resolved,
)
from retune_dvc.stages import RESOLVED_PARAMS, USER_FILES, read_stages
from retune_workflow.manual import ROOT

STAGES = read_stages(ROOT / "dvc.yaml")
NO_FILES = {"dataset": [], "model": [], "configure": []}
SHORT = {"dataset": "builtin", "model": "builtin"}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder to work in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def texts(values, sources=NO_FILES):
    return resolve(read_params(values), sources).texts()


@pytest.mark.parametrize(
    "spelling",
    [
        {"finetune": {"learning_rate": "3.0e-4", "epochs": "1.0e+00"}},
        {"finetune": {"learning_rate": 0.0003, "epochs": 1}, "evaluate": {}},
        {"finetune": {"epochs": 1.0, "learning_rate": 0.00030, "seed": 0}},
    ],
)
def test_another_spelling_resolves_to_the_same(folder, spelling):
    values = {**SHORT, "finetune": {"learning_rate": 3e-4}}
    assert texts({**SHORT, **spelling}) == texts(values)


def test_what_decides_results_is_written_with_its_default(folder):
    written = yaml.safe_load(texts(SHORT)[RESOLVED_PARAMS])
    assert written == read_params(SHORT).decisive()
    assert written["hardware"]["accelerator"] == "cpu"
    assert "eval_steps" in written["finetune"]
    assert "save_steps" not in written["finetune"]


def test_what_was_written_is_read_back_stage_by_stage(folder):
    (folder / "texts.jsonl").write_text("{}\n")
    values = {**SHORT, "dataset": "texts.jsonl"}
    resolved = resolve(
        read_params(values), {"dataset": ["texts.jsonl"], "model": [], "configure": []}
    )
    write_resolved(resolved)
    for name, stage in STAGES.items():
        assert read_resolved().read_by(name, stage) == resolved.read_by(name, stage)


@pytest.mark.parametrize("damage", ["", "- a list\n", "{", "\x00"])
def test_what_cannot_be_read_is_not_what_a_run_goes_by(folder, damage):
    resolved = resolve(read_params(SHORT), NO_FILES)
    write_resolved(resolved)
    (folder / RESOLVED_PARAMS).write_text(damage)
    stage = STAGES["prepare"]
    assert read_resolved().read_by("prepare", stage) != resolved.read_by(
        "prepare", stage
    )


def test_a_file_that_is_as_it_should_be_is_left_alone(folder):
    resolved = resolve(read_params(SHORT), NO_FILES)
    write_resolved(resolved)
    os.utime(RESOLVED_CODE, ns=(1, 1))
    write_resolved(resolved)
    assert os.stat(RESOLVED_CODE).st_mtime_ns == 1


def test_files_are_listed_as_md5sum_checks_them(folder):
    names = ["plain.jsonl", "with space.jsonl", "a\\b\nc.jsonl", "ünï.jsonl"]
    for name in names:
        (folder / name).write_text(name)
    values = {**SHORT, "dataset": "plain.jsonl"}
    write_resolved(
        resolve(read_params(values), {"dataset": names, "model": [], "configure": []})
    )
    listed = next(path for path, section in USER_FILES.items() if section == "dataset")
    checked = subprocess.run(["md5sum", "--check", "--strict", listed], check=False)
    assert checked.returncode == 0
    (folder / names[2]).write_text("other")
    checked = subprocess.run(["md5sum", "--check", "--strict", listed], check=False)
    assert checked.returncode == 1


def test_a_file_is_read_once_and_again_when_it_may_be_another(folder, monkeypatch):
    read = []
    hash_file = file_hashes.hash_file
    monkeypatch.setattr(
        file_hashes,
        "hash_file",
        lambda path, progress: read.append(path) or hash_file(path, progress),
    )
    for name in ("a", "b"):
        (folder / name).write_text("one")
    first = file_hashes.list_with_md5(["a", "b"])
    assert file_hashes.list_with_md5(["a", "b"]) == first
    assert sorted(read) == ["a", "b"]
    # Other bytes, as many, of the same date, in the same place.
    times = os.stat("b")
    (folder / "b").write_text("two")
    os.utime("b", ns=(times.st_atime_ns, times.st_mtime_ns))
    assert file_hashes.list_with_md5(["a", "b"]) != first
    assert sorted(read) == ["a", "b", "b"]


def test_all_files_that_cannot_be_read_are_told_also_those_seen_before(folder):
    for name in ("a", "b", "c"):
        (folder / name).write_text("one")
    paths = ["a", "b", "c", "d"]
    file_hashes.list_with_md5(paths[:3])
    (folder / "b").unlink()
    (folder / "b").symlink_to("b")
    (folder / "d").mkdir()
    with pytest.raises(RetuneError) as raised:
        file_hashes.list_with_md5(paths)
    assert str(raised.value).splitlines() == [
        "b cannot be read: Too many levels of symbolic links",
        "d cannot be read: Is a directory",
    ]
    (folder / "b").unlink()
    (folder / "b").write_text("two")
    assert len(file_hashes.list_with_md5(paths[:3]).splitlines()) == 3


def test_a_disk_that_fails_while_files_are_read_is_told(folder):
    # Its bytes cannot be read, though it opens.
    with pytest.raises(RetuneError) as raised:
        file_hashes.list_with_md5(["/proc/self/mem"])
    assert str(raised.value) == "/proc/self/mem cannot be read: Input/output error"


def test_a_damaged_memory_of_files_is_no_memory(folder):
    (folder / "a").write_text("one")
    first = file_hashes.list_with_md5(["a"])
    for text in ("", "[]", "{"):
        file_hashes.SEEN.write_text(text)
        assert file_hashes.list_with_md5(["a"]) == first


def test_the_stage_that_comes_with_the_workflow_is_that_of_its_params(monkeypatch):
    monkeypatch.chdir(ROOT)
    written = yaml.safe_load((ROOT / "params.yaml").read_text())
    text = texts(written)[STAGE_FILE]
    assert (ROOT / STAGE_FILE).read_text() == text
    assert "always_changed" not in text


@pytest.mark.parametrize("section", NO_FILES)
def test_dvc_looks_at_files_of_the_user_each_time(folder, monkeypatch, section):
    """One that is renamed must not stop `dvc repro` before that knows of it."""
    (folder / "workflow").symlink_to(ROOT / "workflow")
    monkeypatch.setattr(resolving, "LIBRARY", folder / "workflow/retune")
    (folder / "a.jsonl").write_text("{}\n")

    def stage_of(sources):
        return yaml.safe_load(texts(SHORT, sources)[STAGE_FILE])["stages"]["resolve"]

    stage = stage_of(NO_FILES | {section: ["a.jsonl"]})
    assert stage["always_changed"]
    assert "deps" not in stage
    assert stage_of(NO_FILES)["deps"] == ["workflow/retune"]


def test_code_that_is_elsewhere_is_looked_at_each_time(folder):
    stage = yaml.safe_load(texts(SHORT)[STAGE_FILE])["stages"]["resolve"]
    assert stage["always_changed"]
    assert "deps" not in stage
    assert stage["cmd"].endswith(shlex.quote(str(ROOT / "workflow")))


def test_what_two_runs_differ_in_is_told(folder):
    one = resolve(read_params(SHORT), NO_FILES)
    other = resolve(read_params({**SHORT, "finetune": {"seed": 1}}), NO_FILES)
    assert one.differs_in(one) == []
    assert one.differs_in(other) == ["settings"]
    assert one.differs_in(read_resolved()) == ["settings", "code"]


def test_a_step_s_hash_follows_its_own_code(folder, monkeypatch):
    before = resolve(read_params(SHORT), NO_FILES).code
    files = step_code.code_files
    monkeypatch.setattr(
        step_code,
        "code_files",
        lambda step: files(step) + (["cli/main.py"] if step == "prepare" else []),
    )
    after = resolve(read_params(SHORT), NO_FILES).code
    assert {step for step in before if before[step] != after[step]} == {"prepare"}
