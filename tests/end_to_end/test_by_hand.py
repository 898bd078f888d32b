"""Each step run by hand, with the command that its help shows."""

import os
import subprocess
import sys

import pytest
import yaml

from retune.cli.step_arguments import read_signature
from retune_dvc.stages import read_stages
from retune_workflow.manual import ROOT
from tiny_run import make_texts
from versioned_run import SMALL

pytestmark = pytest.mark.slow


@pytest.mark.long
def test_the_examples_run_one_after_the_other(tmp_path):
    dataset = {"files": "a.txt", "source": "local", "txt_documents": "line"}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(SMALL | {"dataset": dataset}))
    texts = [f"{text}, number {i} of them" for i, text in enumerate(make_texts(300))]
    (tmp_path / "a.txt").write_text("\n".join(texts))
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "workflow")}
    for step in read_stages(ROOT / "dvc.yaml"):
        command = read_signature(step).example.replace("python", sys.executable, 1)
        result = subprocess.run(
            command,
            shell=True,
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, f"{command}\n{result.stderr}"
        assert result.stderr.splitlines()[-1].startswith("done: ")
    assert (tmp_path / "models/tuned/README.md").exists()
