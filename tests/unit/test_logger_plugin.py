"""What a run shows: a line per step, and a failed step's own error."""

import logging
from types import SimpleNamespace

import pytest
from snakemake_interface_logger_plugins.common import LogEvent

from snakemake_logger_plugin_retune import LogHandler, explain


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
    log.write_text("many\nlines\ndone: 123 tokens\n")
    assert start(show, log) == ""
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
    shown = show(event=LogEvent.JOB_ERROR, rule_name="tokenize", log=[str(log)])
    assert shown.splitlines() == [
        "✗ tokenize       failed",
        "    error: dataset.text_column: no column txt",
        "      there is: text",
        f"    log: {log}",
    ]


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


def test_nothing_to_do_is_said(show):
    assert "up to date" in show("Nothing to be done (all requested files are present)")
