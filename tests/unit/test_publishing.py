"""A reader sees all of an output or none of it."""

import pytest

from retune.artifacts.publishing import (
    published_folder,
    read_json,
    sha256,
    write_json,
    write_manifest,
    write_sealed,
)


def test_a_folder_appears_whole(tmp_path):
    target = tmp_path / "out"
    with published_folder(target) as stage:
        (stage / "a").write_text("1")
        assert not target.exists()
    assert (target / "a").read_text() == "1"
    assert list(tmp_path.iterdir()) == [target]


def test_an_error_leaves_the_earlier_folder_and_no_rest(tmp_path):
    target = tmp_path / "out"
    target.mkdir()
    (target / "old").touch()

    def fail_half_way():
        with published_folder(target) as stage:
            (stage / "new").touch()
            raise OSError("disk full")

    with pytest.raises(OSError, match="full"):
        fail_half_way()
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "old"]


def test_a_published_folder_replaces_the_earlier_one(tmp_path):
    target = tmp_path / "out"
    for name in ("first", "second"):
        with published_folder(target) as stage:
            (stage / name).touch()
    assert [path.name for path in target.iterdir()] == ["second"]


def test_the_manifest_names_every_file_with_its_hash(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/a").write_bytes(b"abc")
    write_manifest(tmp_path, source="here")
    manifest = read_json(tmp_path / "manifest.json")
    assert manifest.pop("sha256")
    assert manifest == {
        "source": "here",
        "files": [
            {"path": "sub/a", "size": 3, "sha256": sha256(tmp_path / "sub/a")},
        ],
    }


def test_not_a_number_is_refused_and_the_earlier_file_stays(tmp_path):
    path = tmp_path / "metrics.json"
    write_json(path, {"loss": 1.0})
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(path, {"loss": float("nan")})
    assert read_json(path) == {"loss": 1.0}
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_published_can_be_read_and_what_is_protected_stays_so(tmp_path):
    protected = tmp_path / "protected"
    protected.touch(mode=0o444)
    with published_folder(tmp_path / "out") as stage:
        (stage / "private").touch(mode=0o600)
        (stage / "link").hardlink_to(protected)
    assert (tmp_path / "out/private").stat().st_mode & 0o777 == 0o644
    assert protected.stat().st_mode & 0o777 == 0o444


@pytest.mark.parametrize("name", ["sha256", "files"])
def test_what_a_seal_needs_is_never_written_over(tmp_path, name):
    with pytest.raises(AssertionError, match=f"{name} would be written over"):
        write_sealed(tmp_path / "facts.json", {name: "of something else"})


def test_what_other_tools_leave_in_hidden_places_is_not_listed(tmp_path):
    for name in ("a.txt", ".b.txt", ".checkpoints/c.txt", "d/.e/f.txt", "d/g.txt"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    write_manifest(tmp_path)
    listed = {file["path"] for file in read_json(tmp_path / "manifest.json")["files"]}
    assert listed == {"a.txt", "d/g.txt"}
