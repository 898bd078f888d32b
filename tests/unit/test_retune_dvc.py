"""The parts of what makes Snakemake and DVC agree; the whole is tested end to end."""

import logging
import os
import re
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from snakemake_interface_logger_plugins.common import LogEvent

from retune.errors import RetuneError
from retune.settings.params import read_params
from retune_dvc import recordable, snakemake_state
from retune_dvc.dvc_files import read_lock
from retune_dvc.dvc_internals import first_error
from retune_dvc.errors import UnknownStateError
from retune_dvc.file_times import (
    get_time,
    kept_times,
    make_replaceable,
    set_time,
    time_made,
)
from retune_dvc.fingerprints import fingerprint_files
from retune_dvc.init import init
from retune_dvc.last_seen import (
    LAST_SEEN,
    LastSeen,
    read_last_seen,
    write_last_seen,
)
from retune_dvc.reconcile import Reconciled, stages_of, wanted_steps
from retune_dvc.recordable import check_recordable
from retune_dvc.resolve import read_settings, resolve
from retune_dvc.snakemake_state import STALE_NS, PlannedState, StoredState
from retune_dvc.stages import Stage, read_stages
from retune_dvc.step_rules import StepRules
from retune_snakemake.job_events import JobEvents
from retune_snakemake.snakemake_internals import TIMESTAMP
from retune_workflow.manual import ROOT

STAGES = read_stages(ROOT / "dvc.yaml")
WRITTEN = yaml.safe_load((ROOT / "params.yaml").read_text())
SETTINGS = read_params(WRITTEN)
NO_FILES = {"dataset": [], "model": [], "configure": []}


def workflow(**changes):
    """Return the workflow as it is where the Snakefile is Snakemake's default."""
    values = {
        "snakefile": os.path.abspath("Snakefile"),
        "stages": ROOT / "dvc.yaml",
        "rules": {name: name for name in STAGES},
        "outputs": {name: list(stage.outs) for name, stage in STAGES.items()},
        "benchmarks": {name: [] for name in STAGES},
    }
    return StepRules(**values | changes)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder with DVC and params.yaml in it, to work in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RETUNE_NO_DVC", raising=False)
    (tmp_path / ".dvc").mkdir()
    for name in ("params.yaml", "dvc.yaml"):
        (tmp_path / name).write_text((ROOT / name).read_text())
    return tmp_path


def begun_run():
    return Reconciled(STAGES, resolve(SETTINGS, NO_FILES), workflow(), {})


JANUARY, MARCH, MAY = (s * 10**9 for s in (1_767_225_600, 1_772_323_200, 1_777_593_600))


def write(path, time):
    """Write a file of an age."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(path)
    os.utime(path, ns=(time, time))


def test_a_folder_was_made_when_its_newest_file_was(folder):
    write("out/a", JANUARY)
    write("out/b/c", MARCH)
    write("other", JANUARY)
    set_time("out", MAY)  # the mark of Snakemake and the folder are no file of the step
    assert time_made(["out", "other", "missing"]) == MARCH
    write("other", MAY)
    assert time_made(["out", "other"]) == MAY


def test_what_was_marked_stale_tells_no_time_by_itself(folder):
    write("metrics.json", 10**9)
    write("out/a", MARCH)
    assert time_made(["metrics.json", "out"]) == MARCH
    assert time_made(["metrics.json"]) < JANUARY


def touch_all(outputs):
    """Return what `snakemake --touch` does to times: they are now."""

    def touch(*arguments):
        for paths in outputs.values():
            for path in paths:
                set_time(path, time.time_ns())

    return touch


def test_outputs_taken_over_are_as_old_as_they_are_and_no_older_than_their_inputs(
    folder, monkeypatch
):
    stages = {
        "prepare": Stage((), ("texts.jsonl",), ("data/clean", "data.json")),
        "tokenize": Stage((), ("data/clean",), ("data/tokens",)),
        "evaluate": Stage((), ("data/tokens",), ("evaluation.json",)),
    }
    outputs = {name: list(stage.outs) for name, stage in stages.items()}
    write("texts.jsonl", JANUARY)
    write("data/clean/a", MARCH)
    write("data.json", JANUARY)
    write("data/tokens/a", JANUARY)  # from a cache; its input was made again since
    write("evaluation.json", MAY)
    rules = workflow(outputs=outputs, benchmarks={name: [] for name in stages})
    monkeypatch.setattr(snakemake_state, "call_snakemake", touch_all(outputs))
    StoredState(stages, rules).make_up_to_date(list(stages), list(stages))
    times = {path: get_time(path) for paths in outputs.values() for path in paths}
    assert times == {
        "data/clean": MARCH,
        "data.json": MARCH,
        "data/tokens": MARCH,
        "evaluation.json": MAY,
    }
    assert os.stat("data/tokens").st_mtime_ns == MARCH  # as `ls -l` shows it


def test_a_plan_has_the_same_times_and_changes_no_file(folder):
    stages = {
        "prepare": Stage((), ("texts.jsonl",), ("data/clean",)),
        "tokenize": Stage((), ("data/clean",), ("data/tokens",)),
        "evaluate": Stage((), ("data/tokens",), ("evaluation.json",)),
    }
    outputs = {name: list(stage.outs) for name, stage in stages.items()}
    rules = workflow(outputs=outputs, benchmarks={name: [] for name in stages})
    write("texts.jsonl", JANUARY)
    write("data/clean/a", MARCH)
    write("data/tokens/a", JANUARY)
    write("evaluation.json", MAY)
    before = fingerprint_files(["."])
    planned = PlannedState(stages, rules)
    planned.make_up_to_date(["prepare"], ["prepare", "tokenize"])
    planned.make_stale(["evaluate"])
    assert planned.times == {
        "data/clean": MARCH,
        "data/tokens": MARCH,
        "evaluation.json": STALE_NS,
    }
    assert planned.unrecorded == {"data/clean", "evaluation.json"}
    assert fingerprint_files(["."]) == before
    assert not list(folder.rglob(TIMESTAMP))


def test_a_run_of_the_file_is_recordable(folder):
    check_recordable(SETTINGS, STAGES, workflow())


def test_an_unknown_snakemake_is_in_doubt(folder, monkeypatch):
    monkeypatch.setattr(recordable.snakemake, "__version__", "10.0.0")
    with pytest.raises(UnknownStateError, match=r"Snakemake 10\.0\.0 is not known"):
        check_recordable(SETTINGS, STAGES, workflow())


def test_without_dvc_installed_a_run_is_not_recordable(folder, monkeypatch):
    monkeypatch.setattr(recordable, "find_spec", lambda name: None)
    with pytest.raises(UnknownStateError, match="dvc is not installed"):
        check_recordable(SETTINGS, STAGES, workflow())


def test_what_params_yaml_leaves_out_is_no_doubt(folder):
    values = {name: WRITTEN[name] for name in ("dataset", "model")}
    (folder / "params.yaml").write_text(yaml.safe_dump(values))
    check_recordable(read_params(values), STAGES, workflow())


def test_settings_that_are_not_those_of_the_file_are_in_doubt(folder):
    values = {name: WRITTEN[name] for name in ("dataset", "model")}
    with pytest.raises(UnknownStateError, match=r"settings are not those of params"):
        check_recordable(read_params(values), STAGES, workflow())
    (folder / "params.yaml").unlink()
    with pytest.raises(UnknownStateError, match=r"there is no params\.yaml here"):
        check_recordable(read_params(values), STAGES, workflow())


def test_without_a_dvc_yaml_the_doubt_says_what_writes_one(folder):
    (folder / "dvc.yaml").unlink()
    with pytest.raises(UnknownStateError, match=r"-m retune_dvc init` writes it"):
        check_recordable(SETTINGS, STAGES, workflow())
    other = workflow(
        snakefile="/opt/my retune/Snakefile",
        rules={name: f"tune_{name}" for name in STAGES},
    )
    command = (
        "`python -m retune_dvc init --snakefile '/opt/my retune/Snakefile'"
        " --rules 'tune_*'` writes it"
    )
    with pytest.raises(UnknownStateError, match=re.escape(command)):
        check_recordable(SETTINGS, STAGES, other)


def test_settings_that_are_a_section_of_another_workflow_are_in_doubt(folder):
    (folder / "params.yaml").write_text(yaml.safe_dump({"mine": 3, "retune": WRITTEN}))
    with pytest.raises(UnknownStateError, match=r"yaml here is not retune's alone"):
        check_recordable(SETTINGS, STAGES, workflow())


def test_stages_of_the_user_s_own_are_read(folder):
    path = folder / "dvc.yaml"
    content = yaml.safe_load(path.read_text())
    content["stages"] |= {
        "texts": {"cmd": "true", "params": ["prepare.seed"], "outs": ["texts.jsonl"]},
        "summary": {"cmd": "true", "deps": ["metrics/evaluation.json"]},
        "each": {"foreach": [1, 2], "do": {"cmd": "true"}},
    }
    path.write_text(yaml.safe_dump(content))
    stages = read_stages(path)
    assert set(stages) == {*STAGES, "texts", "summary", "each"}
    assert {name: stages[name] for name in STAGES} == STAGES


def test_outputs_that_dvc_yaml_does_not_name_are_in_doubt(folder):
    outputs = workflow().outputs | {"report": ["models/tuned/README.md", "other.html"]}
    with pytest.raises(
        UnknownStateError, match=r"yaml does not say what report writes"
    ):
        check_recordable(SETTINGS, STAGES, workflow(outputs=outputs))


DAMAGED = ["<<<<<<< HEAD\n", "- a list\n", "\x00", "5", "[1, 2]", "stages: [a]"]
DAMAGED += ["stages: {prepare: 1}"]


@pytest.mark.parametrize("text", DAMAGED)
def test_a_damaged_lock_is_in_doubt(folder, text):
    (folder / "dvc.lock").write_text(text)
    with pytest.raises(UnknownStateError, match=r"dvc\.lock cannot be read"):
        read_lock()


@pytest.mark.parametrize("text", DAMAGED)
def test_a_damaged_dvc_yaml_is_told(folder, text):
    assert stages_of(workflow()) == STAGES
    (folder / "dvc.yaml").write_text(text)
    with pytest.raises(RetuneError, match=r"^dvc\.yaml cannot be read: "):
        stages_of(workflow())


@pytest.mark.parametrize("text", ["", "stages:\n", "{}"])
def test_files_of_dvc_may_be_empty(folder, text):
    (folder / "dvc.lock").write_text(text)
    (folder / "dvc.yaml").write_text(text)
    assert read_lock() == {}
    assert read_stages() == {}
    (folder / "dvc.yaml").write_text("stages: {mine: {cmd: a, metrics: , deps: }}")
    assert read_stages()["mine"].outs == ()


@pytest.mark.parametrize(
    ("snakefile", "rules", "told"),
    [
        (None, "retune", "--rules: retune has no "),
        ("nowhere/Snakefile", "*", "--snakefile: there is no file nowhere/Snakefile"),
        (None, "*", "finds no Snakefile here: name it by --snakefile"),
    ],
)
def test_a_dvc_yaml_whose_stages_would_fail_is_not_written(
    folder, snakefile, rules, told
):
    template = (folder / "dvc.yaml").rename(folder / "template.yaml")
    with pytest.raises(RetuneError, match=told):
        init(template, snakefile, rules)
    assert not (folder / "dvc.yaml").exists()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "there is no params.yaml here"),
        ("[1, 2]", "params.yaml, line 1, column 1: the file is a list"),
        ("dataset: [", "params.yaml, line 1, column 10: "),
        ("dataset: builtin\ndataset: a.txt\n", "dataset: is written twice"),
    ],
)
def test_params_yaml_is_read_as_snakemake_s_is(folder, text, told):
    (folder / "params.yaml").unlink()
    if text:
        (folder / "params.yaml").write_text(text)
    with pytest.raises(RetuneError) as caught:
        read_settings()
    assert told in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", '{"a": 1}', '{"a": {"other": 1}}'])
def test_what_was_seen_is_nothing_when_damaged(folder, text):
    write_last_seen({"prepare": LastSeen("state", "made", clean=True)})
    assert read_last_seen() == {"prepare": LastSeen("state", "made", clean=True)}
    LAST_SEEN.write_text(text)
    assert read_last_seen() == {}


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
    assert set(wanted_steps(targets, begun_run())) == steps


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


def test_the_first_error_dvcs_messages_is_one_line():
    assert first_error("WARNING: x\nERROR: no space\nmore\n") == "no space"
    busy = "ERROR: '/a' is busy, it is being blocked by:\n  (PID 7): dvc repro\n\nIf"
    assert (
        first_error(busy) == "'/a' is busy, it is being blocked by: (PID 7): dvc repro"
    )
    assert first_error("") == "it gave no reason"
