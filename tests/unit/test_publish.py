"""The step `publish`: the model that was consolidated, and its card."""

import pytest

from finished_run import FinishedRun
from retune.artifacts.publishing import read_json, sha256
from retune.errors import RetuneError
from retune.steps import publish

WEIGHTS = "model.safetensors"


@pytest.fixture
def run(tmp_path):
    """Return a finished run with a consolidated model."""
    run = FinishedRun(tmp_path).make()
    run.make_model()
    return run


def test_the_model_is_linked_and_not_copied(run):
    assert (run.publish() / WEIGHTS).samefile(run.folder / "consolidated" / WEIGHTS)


def test_the_card_is_where_the_hub_looks_for_it(run):
    assert "# A tiny GPT-2 trained on" in (run.publish() / "README.md").read_text()


def test_the_card_says_nothing_of_what_only_the_report_goes_by(run):
    one = run.publish("one", report={"peak_tflops": 100})
    other = run.publish("other", report={"peak_tflops": 200})
    card = (one / "README.md").read_text()
    assert card == (other / "README.md").read_text()
    assert not {"MFU", "peak_tflops"} & set(card.replace(":", " ").split())


def test_the_same_run_gives_the_same_bytes(run):
    one, other = run.publish("one"), run.publish("other")
    for path in one.iterdir():
        assert path.read_bytes() == (other / path.name).read_bytes()


def test_the_mark_of_snakemake_is_not_shared(run):
    assert not (run.publish() / publish.SNAKEMAKE_TIMESTAMP).exists()
    assert (run.folder / "consolidated" / publish.SNAKEMAKE_TIMESTAMP).exists()


def test_the_manifest_is_true_and_the_linked_one_unchanged(run):
    tuned = run.publish()
    files = read_json(tuned / "manifest.json")["files"]
    there = {path.name for path in tuned.iterdir()} - {"manifest.json"}
    assert {file["path"] for file in files} == there
    assert "README.md" in there
    assert all(sha256(tuned / f["path"]) == f["sha256"] for f in files)
    linked = read_json(run.folder / "consolidated/manifest.json")["files"]
    assert {file["path"] for file in linked} == {"config.json", WEIGHTS}


@pytest.mark.parametrize("damaged", [f"consolidated/{WEIGHTS}", "samples.json"])
def test_a_damaged_file_is_not_published(run, damaged):
    path = run.folder / damaged
    path.write_bytes(path.read_bytes()[::-1])
    with pytest.raises(RetuneError, match=path.name):
        run.publish()
    assert not (run.folder / "tuned").exists()
