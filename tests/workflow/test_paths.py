"""A user's file may be called anything: it is read, and its change is noticed."""

import json
import os

import pytest
import yaml

NAMES = [
    "{rule}.jsonl",
    "a[1] 50%.jsonl",
    "ünï {a,1}.jsonl",
    "~x.jsonl",
    "${HOME}.jsonl",
]


def lines(*texts):
    return "".join(json.dumps({"text": text}) + "\n" for text in texts)


def edit(workspace, **sections):
    path = workspace.folder / "params.yaml"
    values = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump(values | sections, allow_unicode=True))


@pytest.fixture
def named(workspace):
    """A workspace whose dataset and model have names that mean something elsewhere."""
    for name in NAMES:
        (workspace.folder / name).write_text(lines(f"the text of {name}"))
    model = workspace.folder / "my {model} [1]"
    model.mkdir()
    for file in ("config.json", "model.safetensors"):
        (model / file).write_text("{}\n")
    edit(
        workspace,
        dataset={
            "source": "local",
            "files": {"train": NAMES},
            "document_start": "t{1,2}ext",
        },
        model={"source": "local", "folder": model.name},
        sample={"prompts": ["What is {rule}?"]},
    )
    return workspace


def test_files_of_any_name_are_read_and_their_changes_noticed(named):
    result = named.snakemake("--cores", "1", "download")
    assert result.returncode == 0, result.stderr
    assert f"train {len(NAMES)} documents" in result.stdout + result.stderr
    assert "download" not in named.planned()
    for name in NAMES:
        path = named.folder / name
        before, times = path.read_text(), path.stat()
        path.write_text(lines("the text is another now"))
        planned = named.planned()
        path.write_text(before)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        assert "download" in planned
    assert "download" not in named.planned()


def test_a_model_folder_of_any_name_is_planned_and_its_changes_noticed(named):
    named.looks_finished()
    assert named.planned() == set()
    config = named.folder / "my {model} [1]/config.json"
    config.write_text('{"changed": true}\n')
    assert "fetch" in named.planned()
