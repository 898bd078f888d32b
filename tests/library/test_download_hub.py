"""The step `download`: datasets of the hub, from one on this machine."""

import gzip
import io
import json
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pyarrow as pa
import pytest

from download_case import contents, parquet, rows_of, run_local
from retune.errors import RetuneError
from retune.settings import DatasetSettings

README = b"""---
configs:
- config_name: small
  data_files:
  - {split: train, path: "small/train-*"}
  - {split: dev, path: small/dev.parquet}
  - {split: extra, path: small/extra.parquet}
- config_name: large
  data_files: large/*
---
"""


SMALL = {
    "README.md": README,
    "small/train-0.parquet": parquet(text=["one", None], by=["a", "b"]),
    "small/train-1.parquet": parquet(text=["three"], by=["a"]),
    "small/dev.parquet": parquet(text=["vier"], by=["c"]),
    "small/extra.parquet": parquet(text=["five"], by=["d"]),
    "large/x.parquet": parquet(text=["big"], by=["e"]),
}


@pytest.fixture
def run_hub(hub, worker, tmp_path):
    """Return a function that downloads a dataset of the loopback hub."""

    def run(name, revision, target=tmp_path / "raw", **settings):
        hub.requests.clear()
        settings = {"source": "hub", "name": name, "revision": revision, **settings}
        return worker.run("download", target, **settings)

    yield run
    hub.faults.clear()


def test_a_hub_dataset_arrives_split_by_split_with_its_origin(hub, run_hub, tmp_path):
    revision = hub.add("datasets", "team/small", SMALL)
    outcome = run_hub("team/small", revision, subset="small", group_column="by")

    assert outcome.result.startswith("train 3, validation 1 documents"), outcome
    assert rows_of(tmp_path / "raw") == [
        ("train-000000000", "a", "one"),
        ("train-000000001", "b", None),
        ("train-000000002", "a", "three"),
    ]
    assert rows_of(tmp_path / "raw", "validation") == [
        ("validation-000000000", "c", "vier")
    ]
    manifest = json.loads((tmp_path / "raw/manifest.json").read_text())
    assert manifest["revision"] == revision
    assert manifest["subset"] == "small"
    assert [source["path"] for source in manifest["sources"]["train"]] == [
        "small/train-0.parquet",
        "small/train-1.parquet",
    ]
    assert sorted(path.name for path in (tmp_path / "raw").iterdir()) == [
        "manifest.json",
        "train.parquet",
        "validation.parquet",
    ]
    assert not any("large" in request for request in hub.requests)
    assert not any("extra.parquet" in request for request in hub.requests)


def test_a_hub_dataset_needs_no_torch(hub, run_hub):
    revision = hub.add("datasets", "team/small", SMALL)
    outcome = run_hub("team/small", revision, subset="small")
    assert outcome.result
    assert not outcome.torch_is_loaded


def test_a_hub_dataset_gives_the_same_bytes_twice(hub, run_hub, tmp_path):
    revision = hub.add("datasets", "team/small", SMALL)
    targets = [tmp_path / "one", tmp_path / "two"]
    for target in targets:
        assert run_hub("team/small", revision, target, subset="small").result
    assert contents(targets[0]) == contents(targets[1])


@pytest.mark.parametrize(
    "files", [{"train.parquet": parquet(text=["one"])}, {"train.txt": b"one\n"}]
)
def test_a_hub_dataset_arrives_at_a_relative_target_too(hub, worker, run_hub, files):
    revision = hub.add("datasets", "team/relative", files)
    target = Path("data/raw")
    outcome = run_hub("team/relative", revision, target)
    assert outcome.result, outcome
    assert [row[2] for row in rows_of(worker.folder / target)] == ["one"]


@pytest.mark.parametrize("subset", ["medium", None])
def test_an_unknown_or_missing_subset_names_those_there_are(hub, run_hub, subset):
    revision = hub.add("datasets", "team/small", SMALL)
    outcome = run_hub("team/small", revision, subset=subset)
    assert outcome.error.startswith("dataset.subset: ")
    assert "['small', 'large']" in outcome.error


def test_a_missing_column_of_a_hub_dataset_names_those_there_are(
    hub, run_hub, tmp_path
):
    revision = hub.add("datasets", "team/small", SMALL)
    outcome = run_hub(
        "team/small", revision, subset="small", text_column="txt", group_column="author"
    )
    assert outcome.error.splitlines() == [
        f"dataset.{key}: team/small at {revision[:8]}, split train,"
        f" small/train-0.parquet has no column {column!r}; there are: text, by"
        for key, column in [("text_column", "txt"), ("group_column", "author")]
    ]
    assert list(tmp_path.iterdir()) == []


CHAT = [
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": None, "tool_calls": [{"name": "a"}]},
]
TOOLS = [{"name": "a", "parameters": {"x": 1}}, {"name": "b", "strict": True}]


@pytest.mark.parametrize("name", ["train.jsonl", "train.json.zip", "train.parquet"])
def test_chats_of_the_hub_are_read_however_they_are_stored(
    hub, run_hub, tmp_path, name
):
    lines = json.dumps({"messages": CHAT, "tools": TOOLS}).encode() + b"\n"
    content = lines
    if name.endswith("zip"):
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr("train.jsonl", lines)
        content = packed.getvalue()
    if name.endswith("parquet"):
        content = parquet(messages=[CHAT], tools=[TOOLS])
    revision = hub.add("datasets", "team/chats", {name: content})
    outcome = run_hub("team/chats", revision)
    assert outcome.result, outcome
    assert outcome.result.startswith("messages with tools: train 1 example, ")
    call = {"type": "function", "function": {"name": "a", "arguments": {}}}
    ((_, _, example),) = rows_of(tmp_path / "raw")
    assert json.loads(example) == {
        "messages": [
            CHAT[0],
            CHAT[1] | {"content": "", "tool_calls": [call], "train": True},
        ],
        "tools": [{"type": "function", "function": tool} for tool in TOOLS],
    }


def test_a_wrong_chat_of_the_hub_is_named_with_its_place(hub, run_hub, tmp_path):
    content = b'{"messages": [{"role": "narrator", "content": "Hi"}]}\n'
    revision = hub.add("datasets", "team/wrong", {"train.jsonl": content})
    outcome = run_hub("team/wrong", revision)
    assert outcome.error.startswith(
        f"dataset.name: team/wrong at {revision[:8]}, split train, train.jsonl, line 1,"
        " messages[0].role is 'narrator', should be one of system, "
    )
    assert list(tmp_path.iterdir()) == []


def test_compressed_rows_of_the_hub_are_ours_to_read_whatever_compressed_them(
    hub, run_hub, tmp_path
):
    content = pa.compress(b"id,text\n1,one, two\n", codec="zstd", asbytes=True)
    revision = hub.add("datasets", "team/zstd", {"train.csv.zst": content})
    outcome = run_hub("team/zstd", revision)
    assert outcome.error.endswith("needs quotes around it"), outcome


def test_what_datasets_reads_is_read_such_as_compressed_json(hub, run_hub, tmp_path):
    lines = b'{"text": "one", "n": 1}\n{"text": "two", "n": 2}\n'
    files = {"data/train.jsonl.gz": gzip.compress(lines, mtime=0)}
    revision = hub.add("datasets", "team/packed", files)
    assert run_hub("team/packed", revision, group_column="n").result
    assert [row[1:] for row in rows_of(tmp_path / "raw")] == [
        ("1", "one"),
        ("2", "two"),
    ]


@pytest.mark.parametrize(
    ("file", "content", "place"),
    [
        (
            "train.csv",
            b"id,text\n1,one, two\n2,three, four\n",
            "line 2 has 3 fields, the header 2",
        ),
        ("train.tsv", b"id\ttext\n1\tone\n2\n", "line 3 has 1 field, the header 2"),
        ("train.csv", b"text,text\na,b\n", "has 2 columns 'text'"),
        (
            "train.csv.gz",
            gzip.compress(b"id,text\n1,one\n2,a, b\n", mtime=0),
            "line 3 has 3 fields, the header 2",
        ),
        ("train.jsonl", b'{"text": "a", "text": "b"}\n', "has 2 columns 'text'"),
        ("train.json", b'[{"text": "a", "text": "b"}]', "has 2 columns 'text'"),
        ("train.json", b'{"text": "\\ud83d"}\n', "line 1 holds half of a surrogate"),
        ("train.txt", b"fine\ncaf\xe9\n", "line 2 is not UTF-8"),
    ],
)
def test_a_row_of_a_hub_dataset_that_could_be_read_in_two_ways_is_refused(
    hub, run_hub, tmp_path, file, content, place
):
    revision = hub.add("datasets", "team/ragged", {file: content})
    outcome = run_hub("team/ragged", revision)
    assert outcome.error is not None, outcome
    assert outcome.error.startswith("dataset.")
    where = f"team/ragged at {revision[:8]}, split train, {file}"
    assert where in outcome.error
    assert place in outcome.error
    assert list(tmp_path.iterdir()) == []


def test_rows_of_a_hub_dataset_are_those_of_the_same_local_file(hub, run_hub, tmp_path):
    # `datasets` reads the first as an index, and the others as nothing.
    content = b'n,text\n1,NA\n\n2,"None, and\nmore"\n3,007\n'
    revision = hub.add("datasets", "team/same", {"train.csv": content})
    assert run_hub("team/same", revision, group_column="n").result
    (tmp_path / "same.csv").write_bytes(content)
    run_local(tmp_path / "local", {"train": [tmp_path / "same.csv"]}, group_column="n")
    expected = [("1", "NA"), ("2", "None, and\nmore"), ("3", "007")]
    assert [row[1:] for row in rows_of(tmp_path / "raw")] == expected
    assert rows_of(tmp_path / "raw") == rows_of(tmp_path / "local")


def test_a_hub_dataset_that_says_how_to_read_it_is_read_so(hub, run_hub, tmp_path):
    readme = b"""---
configs:
- config_name: default
  data_files: train.csv
  names: [n, text]
---
"""
    files = {"README.md": readme, "train.csv": b"1,one\n2,two\n"}
    revision = hub.add("datasets", "team/names", files)
    assert run_hub("team/names", revision).result
    assert [row[2] for row in rows_of(tmp_path / "raw")] == ["one", "two"]


def test_an_array_of_json_on_the_hub_is_read(hub, run_hub, tmp_path):
    content = json.dumps([{"text": "one"}, {"text": "two"}], indent=1).encode()
    revision = hub.add("datasets", "team/array", {"train.json": content})
    assert run_hub("team/array", revision).result
    assert [row[2] for row in rows_of(tmp_path / "raw")] == ["one", "two"]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"test.txt": b"x\n"}, "has no split train; there are: test"),
        ({"train.pdfx": b"x"}, "holds no files that `datasets` reads"),
        ({"odd.py": b"print()", "train.txt": b"x"}, "scripts are no longer supported"),
        ({"train.parquet": b"PAR1 no parquet PAR1"}, "train.parquet cannot be read"),
    ],
)
def test_a_repository_that_is_no_text_dataset_is_a_clear_error(
    hub, run_hub, tmp_path, files, message
):
    revision = hub.add("datasets", "team/odd", files)
    outcome = run_hub("team/odd", revision)
    assert outcome.error is not None, outcome
    assert outcome.error.startswith("dataset.name: ")
    assert message in outcome.error
    assert list(tmp_path.iterdir()) == []


def test_a_cached_other_commit_is_never_taken(hub, worker, run_hub, tmp_path):
    name = "team/moving"
    old = hub.add("datasets", name, {"train.txt": b"old\n"})
    load = f"import datasets; datasets.load_dataset({name!r}, revision={old!r})"
    subprocess.run(
        [sys.executable, "-c", load], env=worker.environment, cwd=tmp_path, check=True
    )
    new = hub.add("datasets", name, {"train.txt": b"new\n"})
    # Status 400 makes `datasets` fall back to its cache without seconds of retries.
    hub.fail("status", f"{new}/README.md", float("inf"), method="HEAD", status=400)
    outcome = run_hub(name, new)
    assert outcome.error.startswith("dataset.name: "), outcome
    assert "400" in outcome.error

    hub.faults.clear()
    assert run_hub(name, new).result
    assert [row[2] for row in rows_of(tmp_path / "raw")] == ["new"]


def test_an_outage_is_not_reported_as_a_missing_file(monkeypatch, tmp_path):
    from retune.sources import hub_dataset
    from retune.sources.hub_repository import Repository
    from retune.sources.hub_retries import with_retries

    def not_cached(*args, **options):
        raise FileNotFoundError("Dataset team/away is not cached in .raw/cache")

    monkeypatch.setattr(hub_dataset.datasets, "load_dataset_builder", not_cached)
    monkeypatch.setenv("RETUNE_HUB_PATIENCE", "0")
    repository = Repository("dataset", "team/away", "a" * 40)
    settings = DatasetSettings(source="hub", name="team/away", revision="a" * 40)
    with pytest.raises(RetuneError, match="no answer about the files of") as caught:
        with_retries(
            repository,
            lambda: hub_dataset.find_builder(settings, repository, tmp_path),
        )
    assert "cached" not in str(caught.value)


def test_a_folder_of_the_same_name_is_never_taken(hub, worker, run_hub, tmp_path):
    shadow = worker.folder / "team/shadowed"
    shadow.mkdir(parents=True)
    (shadow / "train.txt").write_text("shadow\n")
    revision = hub.add("datasets", "team/shadowed", {"train.txt": b"real\n"})
    assert run_hub("team/shadowed", revision).result
    assert [row[2] for row in rows_of(tmp_path / "raw")] == ["real"]


def test_a_download_that_is_killed_leaves_an_earlier_result_alone(
    hub, worker, tmp_path
):
    revision = hub.add("datasets", "team/killed", {"train.txt": b"x\n"})
    hub.fail("hang", f"{revision}/train.txt", float("inf"))
    hub.requests.clear()
    settings = {"source": "hub", "name": "team/killed", "revision": revision}
    target = tmp_path / "raw"
    command = [sys.executable, "-m", "retune", "download", "--raw", str(target)]
    process = subprocess.Popen(
        [*command, "--settings", json.dumps(settings)],
        env=worker.environment,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 30
    while not any(line.startswith("GET /datasets") for line in hub.requests):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.kill()
    process.wait()
    hub.faults.clear()

    assert not target.exists()
    assert worker.run("download", target, **settings).result
    assert [row[2] for row in rows_of(target)] == ["x"]
