"""Which steps each setting reruns: the table, and what one name is told."""

import re
import shutil
import subprocess
import sys
from textwrap import dedent

import pytest

from retune.settings import Params
from retune.step_code import STEPS
from retune_dvc.stages import read_stages
from retune_workflow.command_line import main
from retune_workflow.explain_reruns import (
    KEPT,
    RERUNS,
    WIDTH,
    find_reruns,
    find_steps,
    is_operational,
    run,
)
from retune_workflow.manual import STAGES

AFTER_SCORES = ["report", "publish"]
AFTER_CONFIGURE = ["finetune", "consolidate", "evaluate", "sample", *AFTER_SCORES]
AFTER_TOKENIZE = ["configure", *AFTER_CONFIGURE]

# In the order in which they run.
CONTRACT = {
    "dataset.files": [
        "download",
        "prepare",
        "tokenize",
        "baseline",
        *AFTER_TOKENIZE,
    ],
    "model.revision": ["fetch", "tokenize", "baseline", *AFTER_TOKENIZE],
    "hardware.accelerator": ["baseline", *AFTER_TOKENIZE],
    "hardware.ranks_per_node": AFTER_TOKENIZE,
    "hardware": ["baseline", *AFTER_TOKENIZE],
    "tokenize.sequence_length": ["tokenize", *AFTER_TOKENIZE],
    "configure.precision": AFTER_TOKENIZE,
    "finetune.learning_rate": AFTER_CONFIGURE,
    "consolidate.max_shard_size_gb": AFTER_CONFIGURE[1:],
    "evaluate.bootstrap_draws": ["evaluate", *AFTER_SCORES],
    "evaluate.stride": ["baseline", "evaluate", *AFTER_SCORES],
    "evaluate": ["baseline", "evaluate", "sample", *AFTER_SCORES],
    "sample.prompts": ["sample", *AFTER_SCORES],
    "report.peak_tflops": ["report"],
}
EVERY_SETTING = [
    f"{section}.{key}"
    for section, field in Params.model_fields.items()
    for key in field.annotation.model_fields
]


@pytest.fixture(scope="module")
def stages():
    return read_stages(STAGES)


@pytest.fixture
def beside_dvc_yaml(tmp_path, monkeypatch):
    shutil.copy(STAGES, tmp_path)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", CONTRACT)
def test_a_setting_reruns_what_depends_on_it(name, stages):
    assert list(find_steps(name, stages)) == CONTRACT[name]


def test_every_setting_changes_the_result_unless_it_decides_nothing(stages):
    for name in EVERY_SETTING:
        steps = find_steps(name, stages)
        if is_operational(name):
            assert steps == ()
        else:
            assert steps[-1] == ("report" if name[:7] == "report." else "publish")


def test_stages_read_sections_and_settings_that_there_are(stages):
    for name, stage in stages.items():
        assert set(stage.params) <= {*Params.model_fields, *EVERY_SETTING}, name


def test_settings_of_a_section_that_rerun_other_steps_have_their_own_row(stages):
    rows = [row for row in find_reruns(stages) if row.section == "hardware"]
    assert [row.settings[0] for row in rows] == ["accelerator", "nodes", "nvme_path"]
    assert set(rows[0].steps) - set(rows[1].steps) == {"baseline"}
    assert not rows[2].steps


def test_the_table_holds_every_setting_and_step(beside_dvc_yaml, capsys):
    assert main(["explain-reruns"]) == 0
    shown, log = capsys.readouterr()
    head, *blocks, legend = shown.split("\n\n")
    assert log == ""
    assert {line.strip("│ ") for line in head.splitlines()} == set(STEPS)
    assert [
        f"{block.split()[0]}.{key.strip(',')}"
        for block in blocks
        for key in block.replace(RERUNS, "").replace(KEPT, "").split()[1:]
    ] == EVERY_SETTING
    assert max(map(len, shown.splitlines())) <= WIDTH


def test_marks_stand_below_their_step(stages):
    lines = run(path=STAGES).splitlines()
    column = {line.strip("│ "): len(line) - len(line.lstrip("│ ")) for line in lines}
    for row in find_reruns(stages):
        start = re.compile(f"{row.section} .* {row.settings[0]}\\b")
        marks = next(filter(start.match, lines))
        found = {step for step in stages if marks[column[step]] == RERUNS}
        assert found == set(row.steps)
        assert all(marks[column[step]] == KEPT for step in set(stages) - found)


def test_one_setting_is_told_what_it_reruns_and_keeps(beside_dvc_yaml, capsys):
    assert main(["explain-reruns", "finetune.learning_rate"]) == 0
    assert capsys.readouterr().out == dedent("""\
        finetune.learning_rate
          reruns  finetune, consolidate, evaluate, sample, report, publish
          keeps   download, fetch, prepare, tokenize, baseline, configure
        """)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("finetune.learning_rat", "did you mean finetune.learning_rate?"),
        ("learning_rate", "did you mean finetune.learning_rate?"),
        ("finetun", "did you mean finetune?"),
        ("dataset.files.train", "did you mean dataset.files?"),
        (
            "seed",
            "did you mean model.seed, prepare.seed, finetune.seed, evaluate.seed,"
            " sample.seed?",
        ),
        ("lr", f"there are: {', '.join(Params.model_fields)}"),
    ],
)
def test_an_unknown_name_is_told_close_ones(name, hint, beside_dvc_yaml, capsys):
    assert main(["explain-reruns", name]) == 1
    shown, log = capsys.readouterr()
    assert shown == ""
    assert log == f"error: {name}: unknown setting; {hint}\n"


def test_a_folder_without_stages_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["explain-reruns"]) == 1
    log = capsys.readouterr().err
    assert log.startswith("error: dvc.yaml is not in this folder")
    assert len(log.splitlines()) == 1


def test_a_reader_may_leave_early(beside_dvc_yaml):
    command = [sys.executable, "-u", "-m", "retune_workflow", "explain-reruns"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) as process:
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 0
