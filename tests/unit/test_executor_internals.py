"""The private names of snakemake-executor-plugin-slurm are there.

What broke when one of these fails after an upgrade: retune_slurm/executor_internals.py
says it of each function. How they are used: test_slurm_watch, test_slurm_dry_run.
"""

import inspect

import pytest
from snakemake_executor_plugin_slurm import (
    Executor,
    ExecutorSettings,
    submit_string,
    utils,
    validation,
)
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor

from retune_slurm.executor_internals import GROWTH_S, status_interval

SOURCE = inspect.getsource(inspect.getmodule(Executor)) + inspect.getsource(
    inspect.getmodule(RemoteExecutor)
)


@pytest.mark.parametrize(
    "name",
    [
        *("self.run_uuid =", "self.next_seconds_between_status_checks", "self.lock"),
        *("self.active_jobs", ".external_jobid", '"slurm_logfile"'),
    ],
)
def test_the_executor_has_what_watching_its_jobs_needs(name):
    assert name in SOURCE, "SLURM's jobs would not be watched"


def test_ends_of_jobs_can_be_reported():
    success = inspect.signature(Executor.report_job_success).parameters
    error = inspect.signature(Executor.report_job_error).parameters
    assert list(success)[:2] == ["self", "job_info"]
    assert {"job_info", "msg", "kwargs"} <= set(error)
    shown = inspect.signature(RemoteExecutor.print_job_error).parameters
    assert "aux_logs" in shown or "kwargs" in shown


def test_the_time_between_two_checks_grows_by_what_is_taken_off_it():
    assert f"+ {GROWTH_S}" in SOURCE or f"+= {GROWTH_S}" in SOURCE
    assert status_interval(ExecutorSettings()) > 0


def test_a_request_can_be_built():
    parameters = inspect.signature(submit_string.get_submit_command).parameters
    assert list(parameters)[:3] == ["job", "params", "settings"]
    assert list(inspect.signature(utils.set_gres_string).parameters) == ["job"]
    assert list(inspect.signature(validation.validate_slurm_extra).parameters)[:1] == [
        "job"
    ]
