"""The rules of Snakemake and the stages of DVC are the same steps."""

import pytest

from retune.manual import ROOT
from retune.stages import read_stages, with_what_comes_before, with_what_follows
from retune.steps import CODE, code_files

STAGES = read_stages(ROOT / "dvc.yaml")


@pytest.fixture(scope="module")
def rules(finished):
    """Inputs and outputs of each rule."""
    table = finished.snakemake("--detailed-summary", "train").stdout.splitlines()
    columns = table[0].split("\t")
    found = {name: (set(), set()) for name in CODE}
    for line in table[1:]:
        row = dict(zip(columns, line.split("\t"), strict=True))
        inputs, outputs = found[row["rule"]]
        inputs |= set(row["input-file(s)"].split(","))
        outputs.add(row["output_file"])
    return found


@pytest.mark.parametrize("step", CODE)
def test_a_stage_reads_and_writes_what_its_rule_does(rules, step):
    inputs, outputs = rules[step]
    code = {f"workflow/retune/{file}" for file in code_files(step)}
    assert {*STAGES[step].deps, *code} == inputs
    folders = {out for out in STAGES[step].outs if out not in outputs}
    assert set(STAGES[step].outs) - folders <= outputs
    # A folder of DVC's may be named by files in it.
    for output in outputs - set(STAGES[step].outs):
        assert any(output.startswith(f"{folder}/") for folder in folders), output


def test_what_follows_and_what_comes_before():
    assert with_what_follows(["consolidate"], STAGES) == [
        "consolidate",
        "evaluate",
        "report",
    ]
    assert with_what_comes_before(["tokenize"], STAGES) == [
        "download",
        "fetch",
        "prepare",
        "tokenize",
    ]
