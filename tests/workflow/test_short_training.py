"""A training that is hardly meant so short is told on the terminal before it runs."""

import pytest

from plans import make_plan, reasons_of

WARNING = (
    "finetune.epochs: 1 of 50 blocks makes only 6 steps of 8: train more epochs, or"
    " lower configure.global_batch_size"
)


@pytest.mark.parametrize(("blocks", "warnings"), [(50, [WARNING]), (160, [])])
def test_a_short_training_is_told_before_finetune_runs(workspace, blocks, warnings):
    workspace.looks_finished()
    make_plan(global_batch_size=8).write(workspace.folder / "plan/plan.json")
    reasons = reasons_of(make_plan(), train_blocks=blocks)
    reasons.write(workspace.folder / "plan/reasons.json")
    (workspace.folder / "models/base/manifest.json").write_text("{}")
    checkpoint = "results/finetune/checkpoint"
    result = workspace.snakemake("--cores", "1", "--forcerun", "finetune", checkpoint)
    lines = (result.stdout + result.stderr).splitlines()
    # Inputs that are made up are damaged ones.
    failed = next(n for n, line in enumerate(lines) if line.startswith("✗ finetune"))
    assert [line for line in lines[:failed] if line.startswith("finetune")] == warnings
