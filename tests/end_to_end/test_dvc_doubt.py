"""What stands in DVC's way is said in one line; nothing wrong is recorded."""

import shutil
import time

import pytest
import yaml

from versioned_run import edit, locked_dvc, steps_run, suspend_step

pytestmark = [pytest.mark.slow, pytest.mark.long]

PATIENCE_S = 120


def prepare_again(run, *options, **environment):
    """Run `prepare` with a new setting; return what it shows."""
    run.change("prepare", min_characters=5)
    shown = run("snakemake", "--cores", "1", *options, "prepare", **environment)
    assert steps_run(shown) == ["prepare"]
    assert "Traceback" not in shown
    return shown


def records_next_time(run):
    """Check that the next run records what this one could not."""
    shown = run("snakemake", "--cores", "1", "prepare")
    assert "recorded with DVC, from an earlier run: prepare\n" in shown
    assert steps_run(shown) == []
    assert "prepare" not in run.stale()


def test_settings_of_the_command_line_are_not_recorded(run):
    lock = run.bytes_of("dvc.lock")
    option = ["--config", "prepare={min_characters: 5}"]
    shown = run("snakemake", "--cores", "1", *option, "--", "prepare")
    assert (
        "not recorded with DVC: some settings are not those of params.yaml\n" in shown
    )
    assert run.bytes_of("dvc.lock") == lock
    assert "prepare" in run.planned()
    run("snakemake", "--cores", "1", "prepare")
    assert run.is_quiet()


def test_settings_changed_while_a_step_runs_are_not_recorded_as_its_own(run):
    process = start_until_it_runs(run, "prepare")
    run.change("prepare", seed=8)
    shown = process.communicate(timeout=PATIENCE_S)[0]
    assert "not recorded" not in shown
    recorded = run.lock()["prepare"]["params"]["resolved/params.yaml"]["prepare"]
    assert recorded["seed"] == 7
    assert "prepare" in run.stale() & run.planned()


def test_code_changed_while_a_step_runs_makes_it_run_again(run):
    process = start_until_it_runs(run, "prepare")
    with (run.folder / "workflow/retune/examples/overlap.py").open("a") as file:
        file.write("CHANGED = True\n")
    shown = process.communicate(timeout=PATIENCE_S)[0]
    assert "prepare is to run again: code or data it reads changed while" in shown
    assert "prepare" in run.stale() & run.planned()


def start_until_it_runs(run, step):
    """Start a step with a new setting before it; return Snakemake once it runs."""
    run.change("prepare", seed=7)
    log = run.folder / f"logs/{step}.log"
    log.unlink()
    process = run.start("snakemake", "--cores", "1", step)
    wait_for(log, process)
    return process


def wait_for(path, process):
    """Wait until a file is there."""
    end = time.monotonic() + PATIENCE_S
    while not path.exists():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < end
        time.sleep(0.02)


def test_without_hooks_the_steps_are_recorded_all_the_same(run):
    prepare_again(run, "--no-hooks")
    assert "prepare" not in run.stale()


def test_with_little_output_the_steps_are_recorded_all_the_same(run):
    run.change("prepare", min_characters=5)
    run("snakemake", "--cores", "1", "--quiet", "all", "--", "prepare")
    assert "prepare" not in run.stale()


def test_dvc_switched_off(run):
    lock = run.bytes_of("dvc.lock")
    shown = prepare_again(run, RETUNE_NO_DVC="1")
    assert "not recorded with DVC: RETUNE_NO_DVC is set\n" in shown
    assert run.bytes_of("dvc.lock") == lock
    records_next_time(run)


def test_dvc_not_initialised(run):
    shutil.rmtree(run.folder / ".dvc")
    shown = prepare_again(run)
    assert (
        "not recorded with DVC: there is no .dvc folder here; `dvc init` makes one\n"
        in shown
    )


def test_not_a_git_repository(run):
    shutil.rmtree(run.folder / ".git")
    shown = prepare_again(run)
    (line,) = [li for li in shown.splitlines() if li.startswith("not recorded")]
    assert "is not a git repository" in line
    run.git("init", "--quiet")
    records_next_time(run)


def test_a_cache_that_cannot_be_written(run):
    run("dvc", "config", "--local", "cache.dir", "/proc/no-such-cache")
    shown = prepare_again(run)
    (line,) = [li for li in shown.splitlines() if li.startswith("not recorded")]
    assert "prepare" in line
    assert "the next run tries again" in line
    run("dvc", "config", "--local", "--unset", "cache.dir")
    records_next_time(run)


def test_a_dvc_lock_that_cannot_be_read(run):
    (run.folder / "dvc.lock").write_text("<<<<<<< HEAD\n")
    shown = prepare_again(run)
    assert "not compared with DVC: dvc.lock cannot be read" in shown
    assert "not recorded with DVC: prepare: dvc.lock cannot be read" in shown
    assert run.bytes_of("dvc.lock") == b"<<<<<<< HEAD\n"


def test_a_dvc_yaml_that_cannot_be_read(run):
    text = (run.folder / "dvc.yaml").read_text()
    (run.folder / "dvc.yaml").write_text(f"<<<<<<< HEAD\n{text}")
    result = run.attempt("snakemake", "--cores", "1", "prepare")
    assert result.returncode == 1
    *_, last = (result.stdout + result.stderr).splitlines()
    assert last.startswith("dvc.yaml cannot be read: ")
    (run.folder / "dvc.yaml").write_text(text)
    prepare_again(run)


def test_a_lock_of_resolved_that_cannot_be_read_is_made_anew(run):
    (run.folder / "resolved/dvc.lock").write_text("<<<<<<< HEAD\n")
    shown = prepare_again(run)
    assert "DVC" not in shown
    lock = yaml.safe_load((run.folder / "resolved/dvc.lock").read_text())
    assert set(lock["stages"]) == {"resolve"}


def test_a_dvc_command_at_work_elsewhere(run):
    with locked_dvc(run):
        shown = prepare_again(run)
    reason = "another DVC command is at work"
    assert f"not compared with DVC: {reason}\n" in shown
    assert (
        f"not recorded with DVC: prepare: {reason}; the next run tries again\n" in shown
    )
    records_next_time(run)


def test_dvc_and_snakemake_do_not_run_the_same_step_at_once(run):
    edit(
        run.folder / "dvc.yaml",
        lambda stages: stages["prepare"].update(cmd="touch started; sleep 15; false"),
    )
    run.change("prepare", min_characters=5)
    process = run.start("dvc", "repro", "--single-item", "prepare")
    wait_for(run.folder / "started", process)
    refused = run.attempt("snakemake", "--cores", "1", "prepare")
    shown = refused.stdout + refused.stderr
    assert refused.returncode == 1
    assert "DVC is at work on data/clean: (PID" in shown
    assert "wait for it, then run again" in shown
    assert "Traceback" not in shown
    process.communicate(timeout=PATIENCE_S)


def test_dvc_waits_its_turn_while_snakemake_runs(run):
    run.change("prepare", seed=7)
    process = run.start("snakemake", "--cores", "1", "tokenize")
    step = suspend_step(process, "tokenize")
    refused = run.attempt("dvc", "repro", "--single-item", "tokenize")
    step.resume()
    shown = process.communicate(timeout=PATIENCE_S)[0]
    assert process.returncode == 0, shown
    assert refused.returncode != 0
    assert ": snakemake" in refused.stderr
    assert run.stale().isdisjoint({"prepare", "tokenize"})


def test_until_a_run_is_recorded_every_run_says_so(run):
    option = ["--config", "prepare={min_characters: 5}"]
    said = "not recorded with DVC: some settings are not those of params.yaml\n"
    run.change("finetune", seed=7)
    for options in ([], [], ["--dry-run"]):
        shown = run("snakemake", "--cores", "1", *options, *option, "--", "prepare")
        assert shown.count(said) == 1


def test_dvc_takes_nothing_from_under_a_run_that_is_not_recorded(run):
    """That run reads what an earlier one made, which dvc.lock does not speak of."""
    run.change("model", n_embd=32)
    option = ["--config", "prepare={min_characters: 5}"]
    run("snakemake", "--cores", "1", *option, "--", "fetch")
    base = run.bytes_of("models/base/model.safetensors")
    process = run.start("snakemake", "--cores", "1", *option, "--", "tokenize")
    step = suspend_step(process, "prepare")
    refused = run.attempt("dvc", "repro", "fetch")
    step.resume()
    shown = process.communicate(timeout=PATIENCE_S)[0]
    assert process.returncode == 0, shown
    assert refused.returncode != 0
    assert ": snakemake" in refused.stderr
    assert run.bytes_of("models/base/model.safetensors") == base


def test_a_dvc_yaml_of_another_workflow_is_in_doubt(run):
    edit(
        run.folder / "dvc.yaml",
        lambda stages: stages["prepare"].update(outs=["data/elsewhere"]),
    )
    shown = prepare_again(run)
    assert "not recorded with DVC: dvc.yaml does not say what prepare writes" in shown


def test_touched_outputs_are_not_taken_for_made_ones(run):
    """Snakemake's --touch says that all is up to date; dvc.lock stays the truth."""
    lock = run.bytes_of("dvc.lock")
    run.change("prepare", min_characters=5)
    run("snakemake", "--touch", "--forceall", "--cores", "1", "train")
    assert run.bytes_of("dvc.lock") == lock
    assert "prepare" in run.stale() & run.planned()
