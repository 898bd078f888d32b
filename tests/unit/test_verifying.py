"""Which sentence says what is wrong with a file that another step wrote."""

import json

import pytest

from flipped_bit import flip_a_bit
from plans import make_plan
from retune.artifacts.publishing import sha256, write_manifest, write_sealed
from retune.artifacts.run_spec import RunSpec
from retune.artifacts.verifying import (
    WEIGHTS,
    Written,
    check_list,
    check_same,
    read_list,
    read_verified,
    verify_folder,
)
from retune.errors import RetuneError
from retune.settings import FinetuneSettings
from retune.supervision.heartbeat import Heartbeat, read_beats
from retune.training.verified_inputs import files_of_rank, verify_large_files

AGAIN = "; run fetch again: snakemake --cores all train --forcerun fetch"


@pytest.fixture
def base(tmp_path):
    """A folder as `fetch` leaves it, with a folder in it and a mark of Snakemake's."""
    folder = tmp_path / "base"
    (folder / "adapter").mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(bytes(2000))
    (folder / "config.json").write_text("{}")
    (folder / "adapter/config.json").write_text("{}")
    write_manifest(folder, source="builtin")
    (folder / ".snakemake_timestamp").touch()
    return folder


def refusal(base, **options):
    with pytest.raises(RetuneError) as error:
        verify_folder(base, "fetch", **options)
    told = str(error.value)
    assert told.endswith(AGAIN)
    return told.removesuffix(AGAIN)


def test_what_is_as_it_was_written_is_taken(base):
    assert verify_folder(base, "fetch") is None
    assert read_verified(base / "manifest.json", "fetch") == {"source": "builtin"}


def test_changed_bytes_are_told(base):
    file = base / "adapter/config.json"
    flip_a_bit(file)
    assert refusal(base) == f"{file} is not what fetch wrote: its bytes have changed"


def test_a_file_that_is_cut_off_is_told_with_its_sizes(base):
    file = base / "model.safetensors"
    file.write_bytes(bytes(1999))
    told = f"{file} is not what fetch wrote: it has 1,999 bytes instead of 2,000"
    assert refusal(base) == refusal(base, leave_out=[WEIGHTS]) == told


def test_a_missing_file_is_told(base):
    (base / "config.json").unlink()
    assert refusal(base) == f"{base / 'config.json'}, which fetch writes, is missing"


@pytest.mark.parametrize("name", ["model-00003.safetensors", "adapter/more.json"])
def test_a_foreign_file_is_told(base, name):
    (base / name).touch()
    assert refusal(base) == f"{base / name} was not written by fetch"


def test_a_folder_or_manifest_that_is_not_there_is_told(base, tmp_path):
    manifest = base / "manifest.json"
    manifest.unlink()
    assert refusal(base) == f"{manifest}, which fetch writes, is missing"
    missing = tmp_path / "none"
    told = f"{missing / 'manifest.json'}, which fetch writes, is missing"
    assert refusal(missing) == told


def test_every_bit_of_a_manifest_counts(base):
    manifest = base / "manifest.json"
    good = manifest.read_bytes()
    for place in range(len(good)):
        data = bytearray(good)
        data[place] ^= 1 << place % 8
        manifest.write_bytes(data)
        assert refusal(base) == (
            f"{manifest} is not what fetch wrote: its bytes have changed"
        )


@pytest.mark.parametrize("text", ["", "[]", "null", "{}", '{"files": []}'])
def test_a_manifest_without_its_own_hash_is_refused(base, text):
    (base / "manifest.json").write_text(text)
    assert "manifest.json is not what fetch wrote" in refusal(base)


def test_all_problems_are_told_at_once_and_many_are_counted(base):
    (base / "config.json").unlink()
    (base / "a").touch()
    assert refusal(base) == (
        f"{base / 'config.json'}, which fetch writes, is missing;"
        f" {base / 'a'} was not written by fetch"
    )
    for name in "bcd":
        (base / name).touch()
    assert refusal(base).endswith(f"{base / 'b'} was not written by fetch; 2 more")


def test_what_is_left_out_is_not_read(base):
    flip_a_bit(base / "model.safetensors")
    verify_folder(base, "fetch", leave_out=[WEIGHTS])
    assert "model.safetensors" in refusal(base)


@pytest.mark.parametrize("damaged", ["metrics.json", "history.csv", "samples.json"])
def test_a_sealed_file_vouches_for_itself_and_for_files_elsewhere(tmp_path, damaged):
    files = [tmp_path / "results" / name for name in ("history.csv", "samples.json")]
    files[0].parent.mkdir()
    for file in files:
        file.write_text("1,2\n")
    metrics = tmp_path / "metrics.json"
    write_sealed(metrics, {"loss": 1.5}, files)
    assert read_verified(metrics, "evaluate", *files) == {"loss": 1.5}
    (file,) = tmp_path.rglob(damaged)
    flip_a_bit(file)
    with pytest.raises(RetuneError, match=rf"{file} is not what evaluate wrote: its "):
        read_verified(metrics, "evaluate", *files)
    file.unlink()
    with pytest.raises(RetuneError, match=f"{file}, which evaluate writes, is missing"):
        read_verified(metrics, "evaluate", *files)


def test_dvc_would_show_no_hash_as_a_metric(tmp_path):
    write_sealed(tmp_path / "metrics.json", {"loss": 1.5}, [])
    value = json.loads((tmp_path / "metrics.json").read_text())
    shown = {k for k, v in value.items() if isinstance(v, int | float | str | dict)}
    assert shown == {"loss"}


def test_a_copy_that_differs_is_told_by_the_name_of_the_original(base, tmp_path):
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in check_list(base, "fetch"):
        (copy / file.name).parent.mkdir(exist_ok=True)
        (copy / file.name).write_bytes(file.path.read_bytes())
    (copy / "README.md").touch()
    write_manifest(copy)
    written = check_list(base, "fetch")
    check_same(written, read_list(copy, "report"), "fetch")
    flip_a_bit(copy / "model.safetensors")
    write_manifest(copy)
    file = base / "model.safetensors"
    with pytest.raises(RetuneError, match=f"^{file} is not what fetch wrote"):
        check_same(written, read_list(copy, "report"), "fetch")


def test_the_ranks_of_a_machine_have_all_files_and_about_as_many_bytes(tmp_path):
    files = [Written(tmp_path / str(i), str(i), i, "") for i in (5, 9, 1, 4, 8, 2)]
    shares = [files_of_rank(files, rank, 3) for rank in range(3)]
    assert sorted(f.size for share in shares for f in share) == [1, 2, 4, 5, 8, 9]
    assert [sum(f.size for f in share) for share in shares] == [10, 10, 9]
    assert files_of_rank(files[:1], 1, 2) == []


@pytest.fixture
def two_shards(tmp_path):
    """Base model and tokens with large files, of which each of two ranks reads one."""
    for folder, names in {
        "base": ("model-1.safetensors", "model-2.safetensors"),
        "tokens": ("train.tokens.bin", "validation.tokens.bin", "test.tokens.bin"),
    }.items():
        (tmp_path / folder).mkdir()
        for name in names:
            (tmp_path / folder / name).write_bytes(bytes(1000))
        write_manifest(tmp_path / folder)
    return tmp_path / "base", tmp_path / "tokens"


def training_of(base, tokens, zero_stage=3):
    """Return a training by these folders."""
    return RunSpec(
        settings=FinetuneSettings(),
        base=base,
        tokens=tokens,
        plan=make_plan(zero_stage=zero_stage),
        deepspeed={},
    )


def refusing_ranks(two_shards, tmp_path, monkeypatch, first=0, zero_stage=3):
    """Return which of a node's two ranks refuse their share."""
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    refusing = []
    for rank in (0, 1):
        monkeypatch.setenv("RANK", str(first + rank))
        monkeypatch.setenv("LOCAL_RANK", str(rank))
        heartbeat = Heartbeat(tmp_path, rank)
        try:
            verify_large_files(training_of(*two_shards, zero_stage), heartbeat)
        except RetuneError:
            refusing.append(rank)
    return refusing


def test_one_rank_of_a_node_reads_each_file(two_shards, tmp_path, monkeypatch):
    assert refusing_ranks(two_shards, tmp_path, monkeypatch) == []
    flip_a_bit(two_shards[0] / "model-2.safetensors")
    assert refusing_ranks(two_shards, tmp_path, monkeypatch) == [1]
    # The second node reads the weights only where its ranks do.
    assert refusing_ranks(two_shards, tmp_path, monkeypatch, first=2) == []
    assert refusing_ranks(two_shards, tmp_path, monkeypatch, 2, zero_stage=2) == [1]
    flip_a_bit(two_shards[1] / "train.tokens.bin")
    assert refusing_ranks(two_shards, tmp_path, monkeypatch, first=2) == [0]


def test_training_does_not_read_the_test_split(two_shards, tmp_path, monkeypatch):
    flip_a_bit(two_shards[1] / "test.tokens.bin")
    assert refusing_ranks(two_shards, tmp_path, monkeypatch) == []


def test_a_rank_shows_life_while_it_reads_and_is_no_further(tmp_path, monkeypatch):
    heartbeat = Heartbeat(tmp_path, 0)
    heartbeat.beat(0, "verifying")
    (before,) = read_beats(tmp_path)
    (tmp_path / "file").write_bytes(bytes(10))
    sha256(tmp_path / "file", heartbeat.go_on)
    (after,) = read_beats(tmp_path)
    assert after.time > before.time
    assert (after.phase, after.step, after.beats) == ("verifying", 0, before.beats)
