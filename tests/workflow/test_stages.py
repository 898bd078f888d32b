"""The rules of Snakemake and the stages of DVC are the same steps."""

import re

import pytest
import yaml

import retune.settings
from retune.errors import RetuneError
from retune.step_code import STEPS
from retune_dvc.stages import read_stages, with_what_comes_before, with_what_follows
from retune_workflow.manual import ROOT

STAGES = read_stages(ROOT / "dvc.yaml")


@pytest.fixture(scope="module")
def rules(finished):
    """Inputs and outputs of each rule."""
    table = finished.snakemake("--detailed-summary", "train").stdout.splitlines()
    columns = table[0].split("\t")
    found = {name: (set(), set()) for name in STEPS}
    for line in table[1:]:
        row = dict(zip(columns, line.split("\t"), strict=True))
        inputs, outputs = found[row["rule"]]
        inputs |= set(filter(None, row["input-file(s)"].split(",")))
        outputs.add(row["output_file"])
    return found


@pytest.mark.parametrize("step", STEPS)
def test_a_stage_reads_and_writes_what_its_rule_does(rules, step):
    inputs, outputs = rules[step]
    assert set(STAGES[step].deps) == inputs
    folders = {out for out in STAGES[step].outs if out not in outputs}
    assert set(STAGES[step].outs) - folders <= outputs
    # A folder of DVC's may be named by files in it.
    for output in outputs - set(STAGES[step].outs):
        assert any(output.startswith(f"{folder}/") for folder in folders), output


RULES = dict(
    re.findall(
        r"^rule (\w+):\n(.*?)(?=^\S|\Z)",
        "\n".join(p.read_text() for p in (ROOT / "workflow/rules").glob("*.smk")),
        re.MULTILINE | re.DOTALL,
    )
)
ENTRIES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]


def test_there_is_a_rule_for_each_stage_and_no_other():
    assert set(RULES) == set(ENTRIES) == set(STEPS)


@pytest.mark.parametrize("step", STEPS)
def test_a_stage_goes_by_the_settings_files_and_code_of_its_rule(step):
    params = RULES[step].split("    params:\n")[1].split("    message:\n")[0]
    # Operational settings are resources: they decide no result.
    settings = set(re.findall(r"=section\(\"(\w+)\"\)", params))
    settings |= set(re.findall(r"=PARAMS\.(\w+\.\w+),", params))
    for model in re.findall(r"=sections_of\((\w+)\)", params):
        settings |= set(getattr(retune.settings, model).model_fields)
    for section, name in re.findall(r"=part_of_section\(\"(\w+)\", (\w+)\)", params):
        model = getattr(retune.settings, name)
        settings |= {f"{section}.{key}" for key in model().decisive()}
    assert set(STAGES[step].params) == settings
    files = re.findall(r"=user_files\(\"(\w+)\"\)", params)
    assert list(STAGES[step].user_files) == files
    assert re.findall(r"=list_code\(\"(\w+)\"\)", params) == [step]
    assert {"resolved/code.yaml": [step]} in ENTRIES[step]["params"]


@pytest.mark.parametrize("step", STEPS)
def test_a_stage_runs_its_rule_and_no_other(step):
    assert ENTRIES[step]["cmd"].endswith(f"--allowed-rules {step} -- {step}")


def test_the_graph_of_stages_orders_them_as_they_run():
    assert sorted(STAGES, key=STEPS.index) == list(STEPS)
    for number, stage in enumerate(STAGES.values()):
        later = list(STAGES.values())[number:]
        assert not any(stage.reads(other) for other in later)


def test_stages_that_wait_for_one_another_are_refused(tmp_path):
    path = tmp_path / "dvc.yaml"
    stages = {
        "a": {"cmd": "a", "deps": ["b.txt"], "outs": ["a.txt"]},
        "b": {"cmd": "b", "deps": ["a.txt"], "outs": ["b.txt"]},
    }
    path.write_text(yaml.safe_dump({"stages": stages}))
    with pytest.raises(RetuneError, match="stages wait for one another: [ab], [ab]"):
        read_stages(path)


def test_what_follows_and_what_comes_before():
    assert with_what_follows(["consolidate"], STAGES) == [
        "consolidate",
        "evaluate",
        "sample",
        "report",
        "publish",
    ]
    assert with_what_comes_before(["tokenize"], STAGES) == [
        "download",
        "fetch",
        "prepare",
        "tokenize",
    ]
