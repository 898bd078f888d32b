"""What the manifests of the data and of the base model say of where these come from."""

import pytest

from retune.artifacts.origins import DataOrigin, ModelOrigin, file_entries
from retune.artifacts.publishing import sha256, write_manifest
from retune.errors import RetuneError
from retune.settings import ModelSettings


def origins(folder):
    """Return an origin of each kind of source."""
    (folder / "mine.txt").write_text("mine")
    entries = file_entries([(folder / "mine.txt", "a/mine.txt")])
    hub = {"source": "hub", "name": "team/x", "revision": "a" * 40}
    builtin = ModelSettings(source="builtin", n_layer=2)
    return [
        DataOrigin(**hub, subset="one", sources={"train": entries}),
        DataOrigin(source="local", sources={"train": entries, "test": ()}),
        DataOrigin(source="builtin", documents=3, licence="PSF-2.0"),
        ModelOrigin(**hub),
        ModelOrigin(source="local", path="./mine", sources=entries),
        ModelOrigin(source="builtin", built_from=builtin),
    ]


@pytest.mark.parametrize("number", range(6))
def test_an_origin_comes_back_as_it_was_written(tmp_path, number):
    origin = origins(tmp_path)[number]
    origin.write_into(tmp_path)
    assert type(origin).read_from(tmp_path) == origin


def test_a_file_is_recorded_under_another_path(tmp_path):
    (entry,) = origins(tmp_path)[1].sources["train"]
    assert (entry.path, entry.size) == ("a/mine.txt", 4)
    assert entry.sha256 == sha256(tmp_path / "mine.txt")


def test_another_format_names_the_step_that_writes_it_anew(tmp_path):
    write_manifest(tmp_path, format=2, source="builtin")
    with pytest.raises(RetuneError, match=r"manifest.json: .*format.*run download"):
        DataOrigin.read_from(tmp_path)
    with pytest.raises(RetuneError, match=r"manifest.json: .*format.*run fetch"):
        ModelOrigin.read_from(tmp_path)


def test_a_damaged_manifest_is_refused(tmp_path):
    DataOrigin(source="builtin").write_into(tmp_path)
    path = tmp_path / "manifest.json"
    path.write_text(path.read_text().replace("builtin", "bulitin"))
    with pytest.raises(RetuneError, match="is not what download wrote"):
        DataOrigin.read_from(tmp_path)
