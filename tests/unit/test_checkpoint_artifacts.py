"""What a checkpoint says of itself: read as it was written, or refused."""

import re

import pytest

from retune.artifacts.checkpoint_manifest import CheckpointManifest, SavedFile
from retune.artifacts.checkpoint_weights import (
    FILE,
    CheckpointWeights,
    LiveWeight,
)
from retune.artifacts.publishing import (
    MANIFEST,
    SEAL,
    read_json,
    sealed_text,
    write_json,
    write_manifest,
)
from retune.checkpoints.checkpoint_files import (
    best_of,
    find_damage,
    find_mismatch,
    newest_good,
)
from retune.errors import RetuneError

SAVED = CheckpointManifest(
    run="0123456789abcdef",
    step=50,
    skipped=1,
    validation_loss=None,
    world_size=2,
    zero_stage=3,
    pipeline_stages=1,
    precision="bf16",
    files=(),
)
WEIGHTS = CheckpointWeights(
    tensors={"wte.weight": LiveWeight("bfloat16", (4, 2), "ab" * 32)},
    lora={"r": 4, "target_modules": ["c_attn"]},
    layers={"layer_00-model_states.pt": {"weight": "wte.weight"}},
)


def write_changed(path, **changes):
    """Write a manifest anew, sealed, with other values; "gone" leaves a value out."""
    value = read_json(path) | changes
    rest = {key: value[key] for key in value if key != SEAL and value[key] != "gone"}
    path.write_text(sealed_text(rest))


def test_a_manifest_is_read_as_it_was_written(tmp_path):
    files = (SavedFile("zero/a.pt", 3, "ab" * 32), SavedFile("b.json", 0, "cd" * 32))
    more = SAVED.model_copy(update={"validation_loss": 3.1415927, "files": files})
    for manifest in (SAVED, more):
        manifest.write(tmp_path)
        assert CheckpointManifest.read(tmp_path) == manifest
    assert read_json(tmp_path / MANIFEST)["format"] == 1


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"format": 2}, r"format: Input should be 1"),
        ({"skipped": "gone"}, "skipped: Field required"),
        ({"more": 1}, "more: Extra inputs are not permitted"),
    ],
)
def test_a_manifest_of_another_format_is_one_sentence(tmp_path, changes, problem):
    folder = tmp_path / SAVED.run / "step-00000050"
    SAVED.write(folder)
    write_changed(folder / MANIFEST, **changes)
    told = f"manifest.json: not what this version of retune writes ({problem}): run"
    with pytest.raises(RetuneError, match=re.escape(f"{folder}/{told}")) as raised:
        CheckpointManifest.read(folder)
    assert "\n" not in str(raised.value)
    assert find_mismatch(folder, SAVED.run).startswith(told)
    assert best_of([folder]) is None
    assert find_damage(folder) is None
    # Such a run does not start over without being asked to.
    with pytest.raises(RetuneError, match=re.escape(f"(step-00000050: {told}")):
        newest_good(folder.parent)


def test_a_manifest_with_a_changed_byte_is_damaged(tmp_path):
    SAVED.write(tmp_path)
    path = tmp_path / MANIFEST
    path.write_text(path.read_text().replace('"step": 50', '"step": 51'))
    with pytest.raises(RetuneError, match=r"/manifest\.json is damaged$"):
        CheckpointManifest.read(tmp_path)
    path.unlink()
    with pytest.raises(RetuneError, match=r"/manifest\.json is missing$"):
        CheckpointManifest.read(tmp_path)


def test_the_weights_are_read_as_they_were_written(tmp_path):
    for weights in (WEIGHTS, CheckpointWeights(tensors=WEIGHTS.tensors)):
        weights.write(tmp_path)
        assert CheckpointWeights.read(tmp_path) == weights


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"format": 2}, "format: Input should be 1"),
        ({"tensors": None}, "tensors: Input should be an object"),
        ({"tensors": {"a": {"dtype": "float32", "shape": [1]}}}, "tensors.a.sha256"),
        (
            {"tensors": {"a": {"dtype": "float32", "shape": [1], "sha256": None}}},
            "tensors.a.sha256",
        ),
    ],
)
def test_weights_of_another_format_are_one_sentence(tmp_path, changes, problem):
    WEIGHTS.write(tmp_path)
    write_json(tmp_path / FILE, read_json(tmp_path / FILE) | changes)
    with pytest.raises(RetuneError, match=re.escape(problem)) as raised:
        CheckpointWeights.read(tmp_path)
    told = f"{tmp_path / FILE}: not what this version of retune writes"
    assert str(raised.value).startswith(told)
    assert "\n" not in str(raised.value)


def test_the_files_of_any_published_folder_are_checked(tmp_path):
    (tmp_path / "a.txt").write_text("a")
    write_manifest(tmp_path, source="builtin")
    assert find_damage(tmp_path) is None
    (tmp_path / "a.txt").write_text("b")
    assert find_damage(tmp_path) == "a.txt has changed since it was written"
