"""Snakemake and DVC agree: after runs, clones, checkouts, and earlier settings."""

import os
import shutil

import pytest

from retune.step_code import STEPS
from versioned_run import VersionedRun, edit, steps_run

pytestmark = pytest.mark.slow

AFTER_FINETUNE = {"consolidate", "evaluate", "sample", "report", "publish"}
NOTHING = "Nothing to be done"


@pytest.fixture(scope="module")
def two_commits(finished, tmp_path_factory) -> VersionedRun:
    """A run with two commits: `first`, and `second` with another learning rate."""
    run = finished.copy(tmp_path_factory.mktemp("two") / "job")
    run.git("tag", "first")
    run.change("finetune", learning_rate=0.01)
    first, *others = steps_run(run.train())
    assert first == "finetune"
    assert sorted(others) == sorted(AFTER_FINETUNE)
    run.commit("another learning rate")
    run.git("tag", "second")
    return run


@pytest.fixture
def run_of_two(two_commits, tmp_path) -> VersionedRun:
    """A copy of it, at `second`."""
    return two_commits.copy(tmp_path / "job")


def replace(path, data):
    """Write a file anew: it may be a hard link to DVC's cache."""
    path.unlink()
    path.write_bytes(data)


def test_after_a_run_dvc_has_all_of_it(finished):
    assert finished.stale() == set()
    assert set(finished.lock()) == set(STEPS)
    assert not finished.calls.exists()


def test_again_neither_tool_has_anything_to_do(run):
    assert run.planned() == set()
    # It looks at the user's files each time.
    assert run("dvc", "repro").count("Running stage") == 1
    assert NOTHING in run.train()


def test_a_clone_that_pulls_has_nothing_to_do(finished, tmp_path):
    finished.git("clone", "--quiet", str(finished.folder), str(tmp_path / "clone"))
    clone = VersionedRun(tmp_path / "clone", finished.calls)
    assert set(STEPS) == clone.stale()
    clone("dvc", "pull")
    assert (clone.folder / "models/tuned/model.safetensors").exists()
    assert clone.page_is_of_results()
    assert clone.is_quiet()

    params = clone.bytes_of("params.yaml")
    clone.change("sample", max_new_tokens=3)
    assert clone.planned() == clone.stale() == {"sample", "report", "publish"}
    (clone.folder / "params.yaml").write_bytes(params)
    assert clone.is_quiet()

    for folder, _, names in os.walk(clone.folder):
        if ".git" not in folder and ".dvc/" not in folder:
            for name in names:
                os.utime(os.path.join(folder, name))
    assert clone.is_quiet()


def test_settings_changed_before_the_first_look_at_a_clone_rerun_their_steps(
    finished, tmp_path
):
    finished.git("clone", "--quiet", str(finished.folder), str(tmp_path / "clone"))
    clone = VersionedRun(tmp_path / "clone", finished.calls)
    clone("dvc", "pull")
    clone.change("finetune", learning_rate=0.01)
    assert clone.planned() == clone.stale() == {"finetune", *AFTER_FINETUNE}


def test_one_changed_byte_of_an_output_is_noticed_and_mended(run):
    path = run.folder / "models/consolidated/model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    replace(path, bytes(data))
    assert run.planned() == run.stale() == AFTER_FINETUNE
    shown = run.train()
    assert "brought back from DVC's cache instead of run: consolidate\n" in shown
    assert steps_run(shown) == []
    assert run.is_quiet()


def test_a_missing_output_is_brought_back(run):
    shutil.rmtree(run.folder / "models")
    shown = run.train()
    assert "brought back from DVC's cache instead of run: fetch, consolidate" in shown
    assert steps_run(shown) == []
    assert run.is_quiet()


def test_a_removed_or_changed_page_is_brought_back(run):
    page = run.folder / "report.html"
    told = page.read_bytes()
    for break_page in (page.unlink, lambda: replace(page, b"of another run")):
        break_page()
        assert run.planned() == run.stale() == {"report"}
        shown = run.train()
        assert "brought back from DVC's cache instead of run: report" in shown
        assert page.read_bytes() == told


def test_checkouts_to_and_fro_leave_nothing_to_do(run_of_two):
    run = run_of_two
    for commit in ("first", "second", "first"):
        run.git("checkout", "--quiet", commit)
        run("dvc", "checkout")
        assert run.is_quiet(), commit
        assert run.page_is_of_results(), commit


def test_a_checkout_of_git_alone_is_noticed(run_of_two):
    run = run_of_two
    run.git("checkout", "--quiet", "first")
    assert run.planned() == run.stale() == {"finetune", *AFTER_FINETUNE}
    shown = run.train()
    assert steps_run(shown) == []
    assert run.is_quiet()


def test_a_checkout_of_dvc_alone_is_noticed(run_of_two):
    """The settings stay those of `second`; dvc.lock and the outputs are `first`'s."""
    run = run_of_two
    run.git("checkout", "--quiet", "first", "--", "dvc.lock", "metrics", "results")
    run("dvc", "checkout")
    assert run.planned() == run.stale() == {"finetune", *AFTER_FINETUNE}


@pytest.mark.parametrize("tool", ["snakemake", "dvc"])
def test_earlier_settings_bring_the_earlier_model_back(run_of_two, tool):
    run = run_of_two
    run.git("checkout", "--quiet", "first", "--", "params.yaml")
    if tool == "snakemake":
        shown = run.train()
        assert "brought back from DVC's cache instead of run: finetune" in shown
        assert steps_run(shown) == []
    else:
        assert "'finetune' is cached - skipping run" in run("dvc", "repro")
    assert run.is_quiet()
    assert run.page_is_of_results()
    run.git("diff", "--exit-code", "first", "--", "metrics", "results", "dvc.lock")


@pytest.mark.long
@pytest.mark.parametrize("tool", ["snakemake", "dvc"])
def test_what_dvc_made_comes_back_as_well(run, tool):
    run.change("finetune", max_steps=5)
    run("dvc", "repro")
    run.change("finetune", max_steps=4)
    run("dvc", "repro")
    run.change("finetune", max_steps=5)
    if tool == "snakemake":
        assert steps_run(run.train()) == []
    else:
        shown = run("dvc", "repro")
        assert shown.count("Running stage") == 1
        assert "'finetune' is cached - skipping run" in shown
    assert run.is_quiet()


@pytest.mark.long
def test_a_renamed_file_of_the_user_is_followed_by_dvc(run):
    (run.folder / "texts.jsonl").rename(run.folder / "letters.jsonl")
    path = run.folder / "params.yaml"
    path.write_text(path.read_text().replace("texts.jsonl", "letters.jsonl"))
    assert "Running stage 'download'" in run("dvc", "repro", "download")


def test_stages_of_the_user_s_own_are_left_alone(run):
    edit(
        run.folder / "dvc.yaml",
        lambda stages: stages.update(
            summary={
                "cmd": "cp metrics/evaluation.json summary.json",
                "deps": ["metrics/evaluation.json"],
                "params": ["sample.max_new_tokens"],
                "outs": ["summary.json"],
            }
        ),
    )
    run("dvc", "repro", "summary")
    run.change("prepare", seed=7)
    assert "prepare" in run.planned()
    assert steps_run(run("snakemake", "--cores", "1", "prepare")) == ["prepare"]


def test_what_reads_a_result_that_was_brought_back_is_stale(run_of_two):
    run = run_of_two
    run.git("checkout", "--quiet", "first", "--", "params.yaml")
    shown = run("snakemake", "--cores", "1", "results/finetune/checkpoint")
    assert "brought back from DVC's cache instead of run: finetune\n" in shown
    assert run.planned() == run.stale() == AFTER_FINETUNE


def test_a_stale_step_stays_stale_when_something_else_moves(run):
    run.change("prepare", seed=7)
    run("snakemake", "--cores", "1", "prepare")
    stale = set(STEPS) - {"download", "fetch", "prepare"}
    assert run.planned() == run.stale() == stale
    os.utime(run.folder / "texts.jsonl")
    os.utime(run.folder / "workflow/retune/steps/fetch.py")
    assert run.planned() == run.stale() == stale


def test_what_is_put_back_by_hand_is_up_to_date_again(run):
    texts, base = run.folder / "texts.jsonl", run.folder / "models/base"
    before = texts.read_text()
    texts.write_text(before + '{"text": "another"}\n')
    assert "download" in run.planned()
    texts.write_text(before)
    base.rename(run.folder / "models/aside")
    assert {"fetch", "tokenize", "baseline"} <= run.planned()
    (run.folder / "models/aside").rename(base)
    assert run.is_quiet()
    run.change("tokenize", sequence_length=8)  # noticed, if Snakemake knows the old one
    after = {"tokenize", "configure", "finetune", *AFTER_FINETUNE}
    assert run.planned() == run.stale() == after


def test_a_forced_step_runs_even_so(run):
    shown = run("snakemake", "--cores", "1", "--force", "prepare")
    assert steps_run(shown) == ["prepare"]
    assert "brought back" not in shown
    assert run.is_quiet()


def test_a_commit_of_words_reruns_nothing(run):
    with (run.folder / "README.md").open("a") as file:
        file.write("More words.\n")
    (run.folder / "tests").mkdir()
    (run.folder / "tests/test_more.py").write_text("pass\n")
    run.commit("words")
    assert run.is_quiet()


def test_changed_code_reruns_its_step_and_not_what_follows_if_its_result_is_the_same(
    run,
):
    with (run.folder / "workflow/retune/examples/overlap.py").open("a") as file:
        file.write("CHANGED = True\n")
    assert run.planned() == run.stale() == set(STEPS) - {"download", "fetch"}
    shown = run.train()
    made = [line for line in shown.splitlines() if "brought back" not in line]
    assert steps_run("\n".join(made)) == ["prepare"]
    assert run.is_quiet()


def test_what_dvc_ran_snakemake_does_not_run_again(run):
    run.change("sample", max_new_tokens=3)
    run("dvc", "repro")
    assert run.is_quiet()


def test_the_mark_of_snakemake_is_nowhere_in_dvc_nor_in_the_published_model(finished):
    folder = finished.folder
    mark = ".snakemake_timestamp"
    assert (folder / "models/base" / mark).exists()
    assert not (folder / "models/tuned" / mark).exists()
    listed = [path.read_text() for path in (folder / ".dvc/cache").rglob("*.dir")]
    assert listed
    assert not any(mark in text for text in listed)
    for manifest in folder.glob("*/*/manifest.json"):
        assert mark not in manifest.read_text()
