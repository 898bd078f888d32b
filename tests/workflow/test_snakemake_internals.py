"""The private names of Snakemake are there and mean what is expected of them.

What broke when one of these fails after an upgrade:
retune_snakemake/snakemake_internals.py says it of each function.
"""

import json
import os
import subprocess
import sys

import pytest

from retune_workflow.manual import ROOT

SNAKEFILE = """
import json
from retune_snakemake.job_events import JobEvents
from retune_snakemake.snakemake_internals import SnakemakeRun
from snakemake.logging import logger

RUN = SnakemakeRun(workflow)
FOUND = {
    "at_parse": [
        RUN.is_main_process, RUN.is_job_elsewhere, RUN.is_module, RUN.has_configfile,
        list(map(str, RUN.configfiles)), dict(RUN.config_options),
        RUN.name_of_rule("copy"), RUN.snakefile.endswith("Snakefile"),
    ],
    "events": [],
}
if config.get("plan"):
    RUN.plan_with({"a.txt": 10**18, "b.txt": 15 * 10**17}, ["b.txt"])

rule all:
    input: "b.txt"
    localrule: True

rule copy:
    input: text="a.txt"
    output: "b.txt"
    log: "copy.log"
    benchmark: "copy.tsv"
    params: size=config.get("size", 1)
    resources: mem_mb=1
    shell: "cp {input} {output}"

FOUND["rule"] = RUN.find_rule("copy").__dict__
FOUND["no rule"] = RUN.find_rule("none")
FOUND["profile"] = [
    RUN.profile_resource("copy", "mem_mb"), RUN.profile_resource("copy", "disk_mb"),
    RUN.default_resource("runtime"), RUN.default_resource("disk_mb"),
]

def started(number):
    job = RUN.find_job(number)
    if job.rule != "copy":
        return
    provenance = RUN.read_provenance(number)
    FOUND["job"] = dict(job.__dict__, number=None)
    FOUND["own job"] = RUN.own_job(number).rule.name
    FOUND["local"] = RUN.runs_beside_snakemake(job)
    FOUND["forced"] = [RUN.is_forced(number), provenance.is_forced]
    FOUND["provenance"] = {
        name: sorted(value) if isinstance(value, frozenset) else value
        for name, value in provenance.__dict__.items()
    }

logger.addHandler(JobEvents(started, FOUND["events"].append))

onstart:
    FOUND["at_start"] = [
        RUN.is_dry_run, RUN.is_touch, RUN.executor, RUN.shows_own_words,
        type(RUN.running_executor).__name__, RUN.executor_settings is None,
        sorted(job.rule for job in RUN.jobs()),
        sorted(job.rule for job in RUN.needed_jobs()),
    ]

onsuccess:
    FOUND["at_end"] = [
        sorted(job.rule for job in RUN.finished_jobs()),
        [job.rule for job in RUN.needed_jobs()],
        sorted(job.rule for job in RUN.needed_jobs(or_finished=True)),
    ]
    FOUND["events"] = len(FOUND["events"])
    with open("found.json", "w") as file:
        json.dump(FOUND, file)
"""


@pytest.fixture
def snakemake(tmp_path):
    """Runs Snakemake in a folder with two rules; returns what it found and showed."""
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    (tmp_path / "a.txt").write_text("text")

    def snakemake(*arguments):
        found = tmp_path / "found.json"
        found.unlink(missing_ok=True)
        done = subprocess.run(
            [sys.executable, "-m", "snakemake", "--cores", "1", *arguments],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT / "workflow")},
            capture_output=True,
            text=True,
            check=False,
        )
        shown = done.stdout + done.stderr
        assert done.returncode == 0, shown
        return json.loads(found.read_text()) if found.exists() else {}, shown

    return snakemake


def test_a_first_run(snakemake):
    found, _ = snakemake(
        *("--set-resources", "copy:mem_mb=7", "--default-resources", "runtime=3"),
        *("--logger", "retune", "--", "all"),
    )
    assert found["at_parse"] == [True, False, False, True, [], {}, "copy", True]
    rule = {"name": "copy", "outputs": ["b.txt"], "benchmarks": ["copy.tsv"]}
    assert (found["rule"], found["no rule"]) == (rule, None)
    assert found["profile"] == [7, None, 3, None]
    names = ["all", "copy"]
    start = [False, False, "local", False, "Executor", True, names, names]
    assert found["at_start"][:4] == start[:4]
    assert found["at_start"][-2:] == start[-2:]
    assert found["at_end"] == [names, [], names]
    assert found["events"] == 2
    assert found["job"] == {
        "number": None,
        "rule": "copy",
        "runs_nothing": False,
        "inputs": {"text": "a.txt"},
        "outputs": ["b.txt"],
        "logs": ["copy.log"],
        "benchmark": "copy.tsv",
    }
    assert (found["own job"], found["local"]) == ("copy", False)
    assert found["forced"] == [False, False]
    assert not found["provenance"]["has_metadata"]


def test_later_runs_know_how_outputs_were_made(snakemake, tmp_path):
    snakemake("all")
    found, _ = snakemake("--config", "size=2", "--", "all")
    provenance = found["provenance"]
    assert (provenance["old_params"], provenance["new_params"]) == (["1"], ["2"])
    assert provenance["recorded_inputs"] == provenance["inputs"] == ["a.txt"]
    assert provenance["recorded_checksums"]["a.txt"].startswith("sha256:")
    assert provenance["params"] == {"size": 2}
    assert provenance["has_metadata"]
    assert "params have changed" in provenance["reasons"]
    found, _ = snakemake("--forcerun", "copy", "--config", "size=2", "--", "all")
    assert found["forced"] == [True, True]
    (tmp_path / "a.txt").write_text("another")
    found, _ = snakemake("--config", "size=2", "--", "all")
    assert found["provenance"]["newer_inputs"] == ["a.txt"]


def test_a_plan_goes_by_other_times_and_records(snakemake, tmp_path):
    snakemake("all")
    os.utime(tmp_path / "a.txt")
    before = (tmp_path / "b.txt").stat().st_mtime_ns
    assert "Nothing to be done" in snakemake("-n", "--config", "plan=1", "size=2")[1]
    assert "Nothing to be done" not in snakemake("-n", "--config", "size=2")[1]
    assert (tmp_path / "b.txt").stat().st_mtime_ns == before
