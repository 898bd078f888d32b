"""What a dry run tells is read from the lines that it prints."""

from pathlib import Path

from retune_workflow.check import DryRun, check_slurm, read_dry_run, run

# As a dry run prints it, with a profile for SLURM.
SHOWN = """\
Using workflow specific profile profiles/slurm for setting default command line
download      not run yet
prepare       its code; prepare.min_characters: 20 -> 30; prepare.max_rejected_share:
              0.05 -> 0.1
    sbatch: -p cpu --requeue --ntasks=1 (to come, from files not made yet: time, memory)
configure     follows tokenize
    sbatch: -p cpu -t 60 --mem 8000 --requeue --ntasks=1 --cpus-per-task=1
finetune      not run yet
    would be refused: no partition is given
3 steps would run; 8 are up to date.
"""


def test_steps_and_requests_are_read():
    assert read_dry_run(SHOWN) == DryRun(
        steps=("download", "prepare", "configure", "finetune"),
        requests={
            "prepare": "-p cpu --requeue --ntasks=1",
            "configure": "-p cpu -t 60 --mem 8000 --requeue --ntasks=1"
            " --cpus-per-task=1",
        },
        incomplete=("prepare",),
        refused={"finetune": "no partition is given"},
    )


def test_nothing_to_be_done_is_no_step():
    assert read_dry_run("Nothing to be done: all is there.\n") == DryRun((), {}, (), {})


def test_what_the_executor_refuses_is_told_without_a_cluster(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    outcome = check_slurm(read_dry_run(SHOWN))
    assert outcome.errors == ("finetune: no partition is given",)
    assert outcome.found.startswith("2 jobs; time or memory of 1 follow from files not")
    told = read_dry_run(SHOWN.replace("would be refused", "is"))
    assert check_slurm(told).state == "not checked"


def test_a_cluster_that_does_not_answer_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    for name in ("sinfo", "sbatch", "squeue"):
        (tmp_path / name).write_text("#!/bin/sh\necho no host >&2\nexit 1\n")
        (tmp_path / name).chmod(0o755)
    (error,) = check_slurm(read_dry_run(SHOWN.replace("refused", "so"))).errors
    assert error.startswith("SLURM does not answer here (no host)")


def test_without_jobs_the_cluster_is_not_asked(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert check_slurm(read_dry_run("")).state == "ok"


def test_other_settings_are_merged_over_params_yaml(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text("dataset: builtin\nmodel: builtin\n")
    # An error in the settings saves the dry run.
    Path("other.yaml").write_text("finetune: {learning_rat: 1}\n")
    monkeypatch.setattr("retune.checking.run_checks.run_checks", lambda *_: iter(()))
    assert run(Path("other.yaml"), tmp_path) == 1
    shown = capsys.readouterr().out
    assert "params.yaml with other.yaml, 3 sections" in shown
    assert "1 error:\n  finetune.learning_rat: unknown key" in shown
