"""The parts of what makes Snakemake and DVC agree; the whole is tested end to end."""

import logging
import os
from types import SimpleNamespace

import pytest
import yaml
from snakemake_interface_logger_plugins.common import LogEvent

from retune.manual import ROOT
from retune.params import read_params
from retune.stages import read_stage, read_stages
from retune_dvc import recordable
from retune_dvc.commands import DoubtError, reason_in
from retune_dvc.events import JobEvents
from retune_dvc.fingerprints import TIMESTAMP, fingerprint_files
from retune_dvc.marks import get_time, kept_times, make_replaceable, set_time
from retune_dvc.memory import MEMORY, Memory, read_lock, recall, remember
from retune_dvc.reconcile import Look, is_only_respelled, wanted_steps
from retune_dvc.recordable import check_recordable

STAGES = read_stages(ROOT / "dvc.yaml")
WRITTEN = yaml.safe_load((ROOT / "params.yaml").read_text())
SETTINGS = read_params(WRITTEN)
NO_FILES = {"dataset": [], "model": []}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder with DVC and params.yaml in it, to work in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RETUNE_NO_DVC", raising=False)
    (tmp_path / ".dvc").mkdir()
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    return tmp_path


def look(**changes):
    outputs = {name: list(stage.outs) for name, stage in STAGES.items()}
    values = {"used": SETTINGS, "stages": STAGES, "outputs": outputs, "memories": {}}
    return Look(**values | changes)


def test_a_run_of_the_file_is_recordable(folder):
    check_recordable(SETTINGS, STAGES, NO_FILES)


def test_an_unknown_snakemake_is_in_doubt(folder, monkeypatch):
    monkeypatch.setattr(recordable.snakemake, "__version__", "10.0.0")
    with pytest.raises(DoubtError, match=r"Snakemake 10\.0\.0 is not known to retune"):
        check_recordable(SETTINGS, STAGES, NO_FILES)


def test_without_dvc_installed_a_run_is_not_recordable(folder, monkeypatch):
    monkeypatch.setattr(recordable, "find_spec", lambda name: None)
    with pytest.raises(DoubtError, match="dvc is not installed"):
        check_recordable(SETTINGS, STAGES, NO_FILES)


def test_a_file_that_nobody_names_any_more_is_in_doubt(folder):
    stage = STAGES["download"]
    deps = (*stage.deps, "old.jsonl")
    stages = STAGES | {"download": type(stage)(stage.params, deps, stage.outs)}
    with pytest.raises(DoubtError, match=r"remove old\.jsonl from the deps"):
        check_recordable(SETTINGS, stages, NO_FILES)
    check_recordable(SETTINGS, stages, {"dataset": ["./old.jsonl"], "model": []})


def test_a_dollar_in_a_name_is_written_as_dvc_wants_it(folder):
    names = {"dataset": ["${home}.jsonl"], "model": []}
    with pytest.raises(DoubtError) as doubt:
        check_recordable(SETTINGS, STAGES, names)
    name = str(doubt.value).removeprefix("add ").partition(" to the deps")[0]
    assert name == "\\${home}.jsonl"
    entry = {"deps": [*STAGES["download"].deps, name], "params": ["dataset"]}
    check_recordable(SETTINGS, STAGES | {"download": read_stage(entry)}, names)


def test_a_setting_that_a_stage_reads_must_be_written(folder):
    values = {**WRITTEN, "hardware": {"nodes": 1}}
    (folder / "params.yaml").write_text(yaml.safe_dump(values))
    wanted = r"lacks hardware\.accelerator, which DVC wants to see; its default is cpu"
    with pytest.raises(DoubtError, match=wanted):
        check_recordable(read_params(values), STAGES, NO_FILES)


@pytest.mark.parametrize("text", ["<<<<<<< HEAD\n", "- a list\n", "\x00"])
def test_a_damaged_lock_is_in_doubt(folder, text):
    (folder / "dvc.lock").write_text(text)
    with pytest.raises(DoubtError, match=r"dvc\.lock cannot be read"):
        read_lock()


@pytest.mark.parametrize("text", ["", "[]", '{"a": 1}', '{"a": {"other": 1}}'])
def test_a_damaged_memory_is_no_memory(folder, text):
    remember({"prepare": Memory("state", "made", clean=True)})
    assert recall() == {"prepare": Memory("state", "made", clean=True)}
    MEMORY.write_text(text)
    assert recall() == {}


def test_fingerprints_follow_every_file_but_the_mark(folder):
    (folder / "data").mkdir()
    (folder / "data/a").write_text("a")
    before = fingerprint_files(["data", "missing"])
    (folder / "data" / TIMESTAMP).touch()
    assert fingerprint_files(["data", "missing"]) == before
    (folder / "data/b").write_text("b")
    assert fingerprint_files(["data", "missing"]) != before


def test_times_are_kept_to_the_nanosecond(folder):
    (folder / "file").write_text("new")
    (folder / "data").mkdir()
    set_time("data", 1_700_000_000_123_456_789)
    assert get_time("data") == 1_700_000_000_123_456_789
    before = get_time("file")
    with kept_times(["file"]):
        os.utime("file", (1, 1))
    assert get_time("file") == before


def test_a_link_into_the_cache_is_replaced_by_a_file_of_its_own(folder):
    cached = folder / "cached"
    cached.write_text("bytes")
    cached.chmod(0o444)
    (folder / "output").hardlink_to(cached)
    before = get_time("output")
    make_replaceable(["output", "missing", "."])
    assert (folder / "output").stat().st_mode & 0o777 == 0o644
    assert (folder / "output").read_text() == "bytes"
    assert get_time("output") == before
    assert not (folder / "output").samefile(cached)
    assert cached.stat().st_mode & 0o777 == 0o444


def test_another_spelling_of_the_settings_is_told_from_a_change():
    params = {"changed deps": {"params.yaml": {"finetune": "modified"}}}

    def respelled(changes, section):
        lock = {"finetune": {"params": {"params.yaml": {"finetune": section}}}}
        return is_only_respelled("finetune", changes, lock, look())

    written = WRITTEN["finetune"]
    assert respelled([params], {**written, "seed": 0, "epochs": "1.0e+00"})
    assert not respelled([params], {**written, "seed": 1})
    assert not respelled([params], {**written, "no_such_setting": 1})
    assert not respelled([params], None)
    assert not respelled(
        [params, {"changed outs": {"metrics/finetune.json": "modified"}}], written
    )
    assert not respelled([{"changed deps": {"data/tokens": "modified"}}], written)
    assert not respelled(["changed checksum"], written)


def test_one_setting_of_a_section_is_respelled_only_if_it_is_equal():
    params = {"changed deps": {"params.yaml": {"evaluate": "modified"}}}

    def respelled(accelerator):
        recorded = {
            "evaluate": WRITTEN["evaluate"],
            "hardware.accelerator": accelerator,
        }
        lock = {"baseline": {"params": {"params.yaml": recorded}}}
        return is_only_respelled("baseline", [params], lock, look())

    assert respelled("cpu")
    assert not respelled("cuda")


@pytest.mark.parametrize(
    ("targets", "steps"),
    [
        ([], set(STAGES)),
        (["train"], set(STAGES)),
        (["prepare", "train"], set(STAGES)),
        (["prepare"], {"download", "prepare"}),
        (["metrics/data.json"], {"download", "prepare"}),
    ],
)
def test_only_what_the_targets_need_is_brought_back(targets, steps):
    assert set(wanted_steps(targets, look())) == steps


def test_an_error_while_following_jobs_does_not_end_the_run(capsys):
    def fail(job):
        raise OSError("disk full")

    logger = logging.Logger("test")
    logger.addHandler(JobEvents(fail, fail))
    logger.info("", extra={"event": LogEvent.JOB_STARTED, "jobs": [1]})
    logger.info("", extra={"event": LogEvent.JOB_FINISHED, "job_id": 1})
    assert capsys.readouterr().err.count("OSError: disk full") == 2


def test_jobs_are_followed_in_order():
    seen = []
    events = JobEvents(lambda j: seen.append(("start", j)), lambda j: seen.append(j))
    for record in (
        SimpleNamespace(event=LogEvent.JOB_STARTED, jobs=[3, 4]),
        SimpleNamespace(event=LogEvent.JOB_FINISHED, job_id=3),
        SimpleNamespace(event=LogEvent.PROGRESS),
        SimpleNamespace(),
    ):
        events.emit(record)
    assert seen == [("start", 3), ("start", 4), 3]


def test_the_reason_in_dvcs_messages_is_one_line():
    assert reason_in("WARNING: x\nERROR: no space\nmore\n") == "no space"
    busy = "ERROR: '/a' is busy, it is being blocked by:\n  (PID 7): dvc repro\n\nIf"
    assert reason_in(busy) == "'/a' is busy, it is being blocked by: (PID 7): dvc repro"
    assert reason_in("") == "it gave no reason"
