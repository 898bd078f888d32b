"""What a run shows: a line per step, and a failed step's own error."""

import logging
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
import snakemake.logging  # noqa: F401  (keeps the stderr of its first import)
from snakemake_interface_logger_plugins.common import LogEvent

from snakemake_logger_plugin_retune import LogHandler, explain
from snakemake_logger_plugin_retune.plain_handler import plain_log_handler


@pytest.fixture
def show(capsys):
    """Return a function that logs records and returns what was shown."""
    common = SimpleNamespace(
        nocolor=False, dryrun=False, verbose=False, printshellcmds=False
    )
    handler = LogHandler(common, None)

    def show(message=None, level=logging.INFO, **extra):
        record = logging.LogRecord("snakemake", level, "", 0, message, (), None)
        vars(record).update(extra)
        handler.emit(record)
        return capsys.readouterr().err

    return show


def start(show, log):
    return show(event=LogEvent.JOB_INFO, jobid=3, rule_name="tokenize", log=[str(log)])


def test_a_finished_step_is_one_line_with_its_result(show, tmp_path):
    log = tmp_path / "tokenize.log"
    assert start(show, log) == ""
    log.write_text("many\nlines\ndone: 123 tokens\n")
    shown = show(event=LogEvent.JOB_FINISHED, job_id=3)
    assert shown.startswith("✓ tokenize ")
    assert shown.endswith(" s  123 tokens\n")


def test_a_target_without_a_log_is_not_shown(show):
    show(event=LogEvent.JOB_INFO, jobid=1, rule_name="all", log=[])
    assert show(event=LogEvent.JOB_FINISHED, job_id=1) == ""


def test_a_failed_step_shows_its_error_and_where_its_log_is(show, tmp_path):
    log = tmp_path / "tokenize.log"
    log.write_text(
        "noise\nerror: dataset.text_column: no column txt\n  there is: text\n"
    )
    shown = show(
        event=LogEvent.JOB_ERROR, jobid=3, rule_name="tokenize", log=[str(log)]
    )
    assert shown.splitlines() == [
        "✗ tokenize       failed",
        "    error: dataset.text_column: no column txt",
        "      there is: text",
        f"    log: {log}",
    ]


def test_a_log_of_an_earlier_run_is_never_shown_as_this_ones(show, tmp_path):
    log, of_slurm = tmp_path / "tokenize.log", tmp_path / "12.log"
    log.write_text("error: an older error\n")
    of_slurm.write_text("chatter\n")
    start(show, log)
    failed = {
        "event": LogEvent.JOB_ERROR,
        "jobid": 3,
        "rule_name": "tokenize",
        "rule_msg": "SLURM sbatch failed.",
        "log": [str(log), str(of_slurm)],
    }
    assert show(**failed).splitlines() == [
        "✗ tokenize       failed",
        "    SLURM sbatch failed.",
        f"    log: {of_slurm}",
    ]
    log.write_text("error: the error of this run\n")
    assert show(**failed).splitlines() == [
        "✗ tokenize       failed",
        "    SLURM sbatch failed.",
        "    error: the error of this run",
        f"    log: {log}",
        f"    log: {of_slurm}",
    ]


def test_a_result_of_an_earlier_run_is_never_shown_as_this_ones(show, tmp_path):
    log = tmp_path / "tokenize.log"
    log.write_text("done: 123 tokens\n")
    start(show, log)
    assert "tokens" not in show(event=LogEvent.JOB_FINISHED, job_id=3)
    start(show, log)
    log.write_text("done: 124 tokens\n")
    assert "124 tokens" in show(event=LogEvent.JOB_FINISHED, job_id=3)


def test_a_log_that_is_written_before_its_job_is_told_of_is_this_runs(show, tmp_path):
    log = tmp_path / "tokenize.log"
    log.write_text("done: 123 tokens\n")
    job = {"jobid": 3, "rule_name": "tokenize", "log": [str(log)]}
    show(event=LogEvent.JOB_INFO, created=time.time() - 60, **job)
    assert "123 tokens" in show(event=LogEvent.JOB_FINISHED, job_id=3)


def test_without_an_error_of_ours_the_last_lines_are_shown():
    assert explain([str(number) for number in range(100)])[0] == "85"


@pytest.mark.parametrize(
    "message",
    [
        "Building DAG of jobs...",
        "Select jobs to execute...",
        "Execute 2 jobs...",
        "RuleException:\nCalledProcessError in file ...",
        "WorkflowError:\nAt least one job did not complete successfully.",
    ],
)
def test_snakemakes_own_workings_are_left_out(show, message):
    assert show(message) == ""


@pytest.mark.parametrize(
    "message",
    [
        "Reasons:\n    (check individual jobs above for details)",
        "This was a dry-run (flag -n). The order of jobs does not reflect ...",
        "Some jobs were triggered by provenance information, see 'reason' ...",
        "Rules with provenance triggered jobs: finetune\n",
        "10 jobs have missing provenance/metadata so that it in part cannot ...",
    ],
)
def test_what_snakemake_adds_to_a_dry_run_is_left_out(show, message):
    assert show(message) == ""


@pytest.mark.parametrize(
    "message",
    [
        "SLURM run ID: 0e8b83df-b230-45b9-bfdf-97b4d3b02069",
        "Cleaning up SLURM log files older than 10 day(s).",
        "No SLURM account given, trying to guess.",
        "Guessed SLURM account: mine",
        "Unable to guess SLURM account. Trying to proceed without.",
        "Falling back to 'sacct' for status queries (MinJobAge=5; threshold=45s).",
    ],
)
def test_the_workings_of_the_executor_for_slurm_are_left_out(show, message):
    assert show(message) == ""


def test_a_job_in_the_queue_of_slurm_shows_its_step(show, tmp_path):
    start(show, tmp_path / "tokenize.log")
    shown = show("Job 3 has been submitted with SLURM jobid 12 (log: x/12.log).")
    assert shown == "  tokenize       queued  SLURM job 12\n"


def test_a_failed_job_of_slurm_shows_what_slurm_says_and_the_error_of_the_step(
    show, tmp_path
):
    log, of_slurm = tmp_path / "tokenize.log", tmp_path / "12.log"
    log.write_text("noise\nerror: no column txt\n")
    of_slurm.write_text("chatter\n")
    shown = show(
        event=LogEvent.JOB_ERROR,
        jobid=3,
        rule_name="tokenize",
        rule_msg="SLURM-job '12' failed, SLURM status is: 'TIMEOUT'. Detailed failure"
        " reason unavailable (status command is not 'sacct').",
        log=[f"{log} (check log file(s) for error details)", str(of_slurm)],
    )
    assert shown.splitlines() == [
        "✗ tokenize       failed",
        "    SLURM-job '12' failed, SLURM status is: 'TIMEOUT'.",
        "    error: no column txt",
        f"    log: {log}",
        f"    log: {of_slurm}",
    ]


def test_a_refused_job_shows_the_words_of_sbatch_without_the_command(show):
    shown = show(
        event=LogEvent.JOB_ERROR,
        jobid=3,
        rule_name="tokenize",
        rule_msg="SLURM sbatch failed. The error message was 'sbatch: error: no'.\n"
        "    sbatch call:\n        sbatch --parsable --comment x",
        log=["logs/nowhere.log"],
    )
    assert shown.splitlines() == [
        "✗ tokenize       failed",
        "    SLURM sbatch failed. The error message was 'sbatch: error: no'.",
    ]


def test_anything_else_is_passed_on(show):
    assert show("Creating conda environment envs/data.yaml...") == (
        "Creating conda environment envs/data.yaml...\n"
    )


def test_an_error_is_shown_without_its_place_in_the_snakefile(show):
    shown = show(
        'WorkflowError in file "x/common.smk", line 12:\nparams.yaml: 1 problem\n'
        '  a: wrong\n  File "x/common.smk", line 12, in <module>',
        level=logging.ERROR,
        event=LogEvent.ERROR,
    )
    assert shown == "params.yaml: 1 problem\n  a: wrong\n"


def test_a_configfile_that_snakemake_cannot_read_is_told_in_our_words(
    show, tmp_path, monkeypatch
):
    path = tmp_path / "other.yaml"
    path.write_text("model:\tgpt2\n")
    monkeypatch.setattr("sys.argv", ["snakemake", "--configfile", str(path)])
    shown = show(
        "WorkflowError:\nConfig file is not valid JSON or YAML. In case of YAML, ...",
        level=logging.ERROR,
        event=LogEvent.ERROR,
    )
    assert shown.startswith(f"{path}, line 1, column 7: a tab; write spaces\n")
    assert "JSON" not in shown


def test_nothing_to_do_is_said(show):
    assert "up to date" in show("Nothing to be done (all requested files are present)")


def test_the_plugin_leaves_the_library_to_the_workflow():
    # Snakemake loads it first, and the workflow may be of another checkout.
    program = (
        "import sys, snakemake_logger_plugin_retune;"
        " print([name for name in sys.modules if name.startswith('retune')])"
    )
    shown = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert shown.stdout == "[]\n"


def test_snakemake_has_the_handler_that_shows_a_run_in_its_own_way():
    handler = plain_log_handler(nocolor=True)
    assert type(handler).__name__ == "ColorizingTextHandler"
