"""A run whose tools were upgraded, so that a private name is gone, still works."""

import pytest
import yaml

from versioned_run import SMALL, make_small_run

# Takes names away in the process of Snakemake that the user starts.
BREAK = """
import os, sys
if any("snakemake" in word for word in sys.orig_argv[:4]):
    if "RETUNE_DVC_NESTED" not in os.environ:
        {statement}
"""


@pytest.mark.parametrize(
    ("statement", "options", "said"),
    [
        (
            "import dvc.rwlock; del dvc.rwlock.rwlock",
            [],
            "DVC is not kept away from what this run writes: ImportError: cannot import"
            " name 'rwlock' from 'dvc.rwlock'",
        ),
        (
            "import dvc.output; del dvc.output.Output.is_dir_checksum",
            [],
            "not recorded with DVC: AttributeError: 'Output' object has no attribute"
            " 'is_dir_checksum'",
        ),
        (
            "import snakemake.cli, snakemake.workflow as w; del w.Workflow.get_rule",
            ["-n"],
            "not recorded with DVC: AttributeError: 'Workflow' object has no attribute"
            " 'get_rule'",
        ),
    ],
)
def test_the_run_goes_on_and_says_once_what_it_no_longer_does(
    tmp_path, statement, options, said
):
    run = make_small_run(tmp_path / "job", SMALL)
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "sitecustomize.py").write_text(BREAK.format(statement=statement))
    shown = run(
        *("snakemake", "--cores", "1", *options, "download"), PYTHONPATH=str(broken)
    )
    assert shown.count(said) == 1, shown
    assert "Traceback" not in shown
    if not options:
        assert "✓ download" in shown
        assert (run.folder / "data/raw").is_dir()
        # The next run with the right tools records what this one could not.
        run("snakemake", "--cores", "1", "download")
        lock = yaml.safe_load((run.folder / "dvc.lock").read_text())["stages"]
        assert "download" in lock
