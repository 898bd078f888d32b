"""Downloads through the real client: faults are mended or named, bytes are checked."""

import errno
import hashlib
import re
from types import SimpleNamespace

import pytest

from loopback_hub import TOKEN
from retune.errors import RetuneError
from retune.sources import hub_retries
from retune.sources.hub_files import check_space, is_intact
from retune.sources.hub_repository import Repository
from retune.sources.hub_retries import with_retries

POEMS = Repository("dataset", "team/poems", "a" * 40)
FOREVER = float("inf")


@pytest.fixture
def download(hub, worker, tmp_path, request):
    """Return a function that publishes a small dataset and runs `download` on it."""
    name = f"team/{re.sub(r'[^a-z0-9]+', '-', request.node.name)[-60:].strip('-')}"

    def run(*fault, revision=None, times=1, method="GET", status=503, **access):
        commit = hub.add("datasets", name, {"train.txt": b"one\ntwo\n"}, **access)
        if fault:
            kind, path = fault
            match = f"{name}/{path}"
            hub.fail(kind, match, times=times, method=method, status=status)
        hub.requests.clear()
        target = tmp_path / "raw"
        return worker.run(
            "download", target, source="hub", name=name, revision=revision or commit
        )

    yield run
    hub.faults.clear()


FILE = "resolve"  # files are at NAME/resolve/COMMIT/PATH


@pytest.mark.parametrize(
    ("kind", "method"),
    [
        ("status", "GET"),
        ("reset", "GET"),
        ("reset", "HEAD"),
        ("reset_midway", "GET"),
        ("truncate", "GET"),
        ("flip", "GET"),
        ("hang", "GET"),
    ],
)
def test_a_fault_of_a_file_that_passes_is_mended(hub, download, tmp_path, kind, method):
    outcome = download(kind, FILE, method=method)

    assert outcome.result.startswith("train 2 documents"), outcome
    assert hub.faults[0].times == 0
    assert sorted(path.name for path in (tmp_path / "raw").iterdir()) == [
        "manifest.json",
        "train.parquet",
    ]


@pytest.mark.parametrize("kind", ["status", "reset"])
def test_a_fault_of_the_list_of_files_that_passes_is_mended(hub, download, kind):
    hub.fail(kind, "tree")
    assert download().result
    assert hub.faults[0].times == 0


def test_bytes_that_never_match_are_an_error_and_nothing_is_published(
    hub, download, tmp_path
):
    outcome = download("flip", FILE, times=FOREVER)

    assert "train.txt" in outcome.error
    assert "arrived damaged 3 times" in outcome.error
    assert list(tmp_path.iterdir()) == []
    gets = [line for line in hub.requests if line.startswith("GET /datasets")]
    assert len(gets) == 3


@pytest.mark.parametrize("kind", ["status", "reset"])
def test_a_hub_that_stays_away_is_one_clear_error_in_bounded_time(
    download, tmp_path, kind
):
    outcome = download(kind, FILE, times=FOREVER)

    assert outcome.error.startswith("dataset.name: team/")
    assert "could not be had from http://127.0.0.1" in outcome.error
    assert "RETUNE_HUB_PATIENCE=600 has it tried for 600 s" in outcome.error
    assert "resolve" not in outcome.error
    assert outcome.seconds < 10
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_commit_is_named_and_not_tried_again(hub, download):
    outcome = download(revision="b" * 40)
    assert outcome.error.startswith(f"dataset.revision: {'b' * 40} is no commit of")
    assert len(hub.requests) == 1


def test_a_repository_that_is_not_there_is_named_with_the_token_it_may_need(
    hub, worker, tmp_path
):
    hub.requests.clear()
    settings = {"source": "hub", "name": "team/none", "revision": "b" * 40}
    outcome = worker.run("download", tmp_path / "raw", **settings)
    assert outcome.error.startswith("dataset.name: team/none is not at http://127")
    assert "HF_TOKEN" in outcome.error
    assert len(hub.requests) == 1


def test_a_name_the_hub_does_not_allow_is_a_clear_error(worker, tmp_path):
    settings = {"source": "hub", "name": "team/po--ems", "revision": "b" * 40}
    outcome = worker.run("download", tmp_path / "raw", **settings)
    assert outcome.error.startswith("dataset.name: team/po--ems is no name of the hub:")


def test_the_token_opens_a_private_repository(download):
    assert download(token=TOKEN).result


def test_a_private_repository_asks_for_another_token(download):
    outcome = download(token="hf_somebodyelse")
    assert outcome.error.startswith("dataset.name: ")
    assert "HF_TOKEN" in outcome.error


def test_a_gated_repository_asks_to_accept_its_terms(download):
    outcome = download(token="hf_somebodyelse", gated=True)
    assert "is gated: accept its terms" in outcome.error
    assert "HF_TOKEN" in outcome.error


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_refused_file_is_not_tried_again(hub, download, status):
    outcome = download("status", FILE, times=FOREVER, status=status)
    assert outcome.error.startswith("dataset.name: ")
    assert sum(line.startswith("GET /datasets") for line in hub.requests) == 1


def test_the_token_is_never_in_the_log_or_in_a_message(worker, download):
    outcomes = [
        download(token=TOKEN),
        download("status", FILE, times=2, token=TOKEN),
        download(token="hf_somebodyelse"),
    ]
    assert "trying again, for" in worker.log.read_text()
    assert TOKEN not in worker.log.read_text() + repr(outcomes)


def test_a_full_disk_is_not_tried_again(monkeypatch):
    monkeypatch.setattr(hub_retries, "DELAYS", (0.0,))
    tries = []

    def request():
        tries.append(1)
        raise OSError(errno.ENOSPC, "No space left on device", "data/.raw/x")

    with pytest.raises(RetuneError, match="No space left on device: data/.raw/x"):
        with_retries(POEMS, request)
    assert len(tries) == 1


def test_a_bug_is_neither_hidden_nor_tried_again(monkeypatch):
    monkeypatch.setattr(hub_retries, "DELAYS", (0.0,))
    tries = []

    def request():
        tries.append(1)
        raise KeyError("a bug")

    with pytest.raises(KeyError):
        with_retries(POEMS, request)
    assert len(tries) == 1


def test_room_on_the_disk_is_checked_before_the_download(tmp_path):
    with pytest.raises(RetuneError, match="1000000.0 GB to download, but the disk has"):
        check_space([SimpleNamespace(size=10**15)], tmp_path)


@pytest.mark.parametrize("content", [b"poem", b"pocm", b"poe", None])
def test_only_the_listed_bytes_are_intact(tmp_path, content):
    if content is not None:
        (tmp_path / "x").write_bytes(content)
    blob = hashlib.sha1(b"blob 4\0poem").hexdigest()
    lfs = SimpleNamespace(sha256=hashlib.sha256(b"poem").hexdigest())
    small = SimpleNamespace(path="x", size=4, lfs=None, blob_id=blob)
    large = SimpleNamespace(path="x", size=4, lfs=lfs, blob_id="of the pointer")
    assert is_intact(tmp_path, small) is (content == b"poem")
    assert is_intact(tmp_path, large) is (content == b"poem")
