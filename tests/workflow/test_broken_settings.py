"""A settings file that cannot be read ends a run with our sentence and nothing else."""

import pytest

TAB = "dataset: builtin\nmodel: builtin\nfinetune:\n\tepochs: 1\n"
TOLD = ["params.yaml, line 4, column 1: a tab; write spaces", "    →epochs: 1"]

COMMANDS = {
    "run": ["--cores", "1", "train"],
    "dry run": ["--dry-run", "train"],
    "on SLURM": ["--workflow-profile", "profiles/slurm", "train"],
    "Snakemake's own logger": ["--workflow-profile", "none", "--dry-run", "train"],
    "another command": ["--summary"],
}


def said(result):
    """Return what was shown, without Snakemake's word on the profile that it reads."""
    assert result.returncode == 1
    shown = (result.stdout + result.stderr).splitlines()
    return [line for line in shown if not line.startswith("Using workflow specific")]


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_a_broken_file_is_told_and_nothing_else(workspace, command):
    (workspace.folder / "params.yaml").write_text(TAB)
    assert said(workspace.snakemake(*command)) == TOLD


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_a_wrong_value_is_told_and_nothing_else(workspace, command):
    path = workspace.folder / "params.yaml"
    path.write_text(path.read_text().replace("epochs: 1", "epochs: 0"))
    assert said(workspace.snakemake(*command)) == [
        "params.yaml: 1 problem",
        "  finetune.epochs: 0 should be greater than 0",
    ]


@pytest.mark.parametrize("mode", ["--dry-run", "--printshellcmds"])
def test_a_broken_configfile_is_told_in_the_same_words(workspace, mode):
    (workspace.folder / "other.yaml").write_text(TAB)
    result = workspace.snakemake("--cores", "1", mode, "--configfile", "other.yaml")
    assert said(result) == [TOLD[0].replace("params", "other"), TOLD[1]]


def test_a_key_twice_in_a_configfile_is_told(workspace):
    (workspace.folder / "other.yaml").write_text("model: gpt2\nmodel: builtin\n")
    result = workspace.snakemake("--dry-run", "--configfile", "other.yaml")
    assert said(result) == [
        "other.yaml: 1 problem",
        "  model: is written twice, on lines 1 and 2; keep one of them",
    ]


def test_a_file_of_the_users_that_cannot_be_read_is_told(workspace):
    (workspace.folder / "a.txt").symlink_to("/proc/self/mem")
    (workspace.folder / "params.yaml").write_text("dataset: a.txt\nmodel: builtin\n")
    told = ["a.txt cannot be read: Input/output error"]
    assert said(workspace.snakemake("--dry-run")) == told


def test_a_target_that_is_taken_for_a_configfile_is_told(workspace):
    result = workspace.snakemake("--dry-run", "--configfile", "params.yaml", "train")
    assert said(result) == [
        "--configfile: there is no file train; a target, such as train, goes before"
        " --configfile"
    ]


def test_another_configfile_goes_before_params_and_may_stand_alone(workspace):
    own, other = workspace.folder / "params.yaml", workspace.folder / "other.yaml"
    other.write_text("finetune: {epochs: -1}\n")
    told = "finetune.epochs: -1 should be greater than 0"
    result = workspace.snakemake("--dry-run", "--configfile", "other.yaml")
    assert f"params.yaml with other.yaml: 1 problem\n  {told}" in result.stderr
    own.rename(other)
    result = workspace.snakemake("--dry-run", "--configfile", "other.yaml")
    assert result.returncode == 0, result.stderr
    assert f"there is none in {workspace.folder}" in workspace.snakemake().stderr


def test_an_old_name_of_a_key_is_one_line_and_the_run_goes_on(workspace):
    path = workspace.folder / "params.yaml"
    text = path.read_text()
    path.write_text(text.replace("ranks_per_node: 2", "gpus_per_node: 2"))
    result = workspace.snakemake("--dry-run", "train")
    assert result.returncode == 0, result.stderr
    assert (result.stdout + result.stderr).count("gpus_per_node") == 1
    hint = (
        "params.yaml: hardware.gpus_per_node: is called hardware.ranks_per_node now;"
        " please rename it"
    )
    assert hint in (result.stdout + result.stderr).splitlines()


def test_both_names_of_a_key_are_told(workspace):
    path = workspace.folder / "params.yaml"
    text = path.read_text()
    path.write_text(text.replace("  ranks_per", "  gpus_per_node: 2\n  ranks_per"))
    shown = said(workspace.snakemake("--dry-run", "train"))
    assert shown[-2:] == [
        "params.yaml: 1 problem",
        "  hardware.gpus_per_node: is the old name of hardware.ranks_per_node, which is"
        " given, too; keep that one",
    ]
