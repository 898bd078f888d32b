"""The step `download`: every source gives the same columns and the same bytes."""

import gzip
import io
import json
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest

from retune import download
from retune.errors import RetuneError
from retune.settings import DatasetSettings
from retune.sources.local_files import read_file
from retune.sources.rows import Row

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


def parquet(**columns):
    stream = io.BytesIO()
    pl.DataFrame(columns).write_parquet(stream)
    return stream.getvalue()


SMALL = {
    "README.md": README,
    "small/train-0.parquet": parquet(text=["one", None], by=["a", "b"]),
    "small/train-1.parquet": parquet(text=["three"], by=["a"]),
    "small/dev.parquet": parquet(text=["vier"], by=["c"]),
    "small/extra.parquet": parquet(text=["five"], by=["d"]),
    "large/x.parquet": parquet(text=["big"], by=["e"]),
}


def rows_of(folder, split="train"):
    return pl.read_parquet(folder / f"{split}.parquet").rows()


def run_local(target, files, **settings):
    files = {split: list(map(str, paths)) for split, paths in files.items()}
    settings = DatasetSettings(source="local", files=files, **settings)
    return download.run(settings, target)


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
    from retune.sources import hub, hub_dataset

    def not_cached(*args, **options):
        raise FileNotFoundError("Dataset team/away is not cached in .raw/cache")

    monkeypatch.setattr(hub_dataset.datasets, "load_dataset_builder", not_cached)
    monkeypatch.setattr(hub, "RETRY_DELAYS", (0.0,))
    repository = hub.Repository("dataset", "team/away", "a" * 40)
    settings = DatasetSettings(source="hub", name="team/away", revision="a" * 40)
    with pytest.raises(RetuneError, match="no answer about the files of") as caught:
        hub.with_retries(
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


TWO_ROWS = {
    "jsonl": b'\xef\xbb\xbf{"text": "one, \\u00fc", "by": 7}\n\n{"text": null}\n',
    "parquet": parquet(text=["one, ü", None], by=[7, None]),
    "csv": 'by,text\n7,"one, ü"\n,\n'.encode(),
    "txt": "one, ü\r\n\r\n".encode(),
}


@pytest.mark.parametrize("suffix", TWO_ROWS)
def test_each_local_format_gives_its_rows(tmp_path, suffix):
    source = tmp_path / f"data.{suffix}"
    source.write_bytes(TWO_ROWS[suffix])
    run_local(tmp_path / "raw", {"train": [source]})
    nothing = None if suffix in ("jsonl", "parquet") else ""
    assert rows_of(tmp_path / "raw") == [
        ("train-000000000", "train-000000000", "one, ü"),
        ("train-000000001", "train-000000001", nothing),
    ]


@pytest.mark.parametrize("suffix", ["jsonl", "parquet", "csv"])
def test_each_local_format_with_columns_gives_its_groups(tmp_path, suffix):
    source = tmp_path / f"data.{suffix}"
    source.write_bytes(TWO_ROWS[suffix])
    run_local(tmp_path / "raw", {"train": [source]}, group_column="by")
    groups = [row[1] for row in rows_of(tmp_path / "raw")]
    assert groups == ["7", "train-000000001"]


@pytest.mark.parametrize("suffix", TWO_ROWS)
def test_each_local_format_names_a_missing_column(tmp_path, suffix):
    source = tmp_path / f"data.{suffix}"
    source.write_bytes(TWO_ROWS[suffix])
    with pytest.raises(RetuneError) as caught:
        run_local(tmp_path / "raw", {"train": [source]}, text_column="body")
    there = {"csv": "by, text", "txt": "text"}.get(suffix, "text, by")
    assert str(caught.value).startswith(f"dataset.text_column: {source}")
    assert str(caught.value).endswith(f"has no column 'body'; there are: {there}")
    assert list(tmp_path.iterdir()) == [source]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.jsonl", b'{"text": "a"}\n{"text": 5}\n', "line 2 is int, should be text"),
        ("x.jsonl", b'{"text": "a"}\n{"text"\n', "line 2 is not JSON"),
        ("x.jsonl", b"[1]\n", "line 1 is not a JSON object"),
        ("x.parquet", parquet(text=[1]), "is int64, should be text"),
        ("x.parquet", b"no parquet", "dataset.files: .*x.parquet cannot be read"),
        ("x.csv", b"", "there are: none"),
        ("x.txt", b"", r"split train holds no rows \(.*x.txt\)"),
    ],
)
def test_a_bad_local_file_is_named_with_what_is_wrong(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(RetuneError, match=message):
        run_local(tmp_path / "raw", {"train": [tmp_path / name]})
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_all_wrong_files_are_named_at_once(tmp_path):
    (tmp_path / "x.doc").touch()
    with pytest.raises(RetuneError) as caught:
        run_local(
            tmp_path / "raw",
            {"train": [tmp_path / "x.doc"], "test": [tmp_path / "*.jsonl"]},
        )
    assert str(caught.value).splitlines() == [
        f"dataset.files.train: {tmp_path}/x.doc should end in .jsonl, .parquet, .csv,"
        " .txt",
        f"dataset.files.test: no file matches {tmp_path}/*.jsonl",
    ]


def test_globs_give_their_files_in_order_and_once(tmp_path):
    for name in "bca":
        (tmp_path / f"{name}.txt").write_text(f"{name}\n")
    files = {"train": [tmp_path / "c.txt", tmp_path / "*.txt"]}
    run_local(tmp_path / "raw", files)
    assert [row[2] for row in rows_of(tmp_path / "raw")] == ["c", "a", "b"]


def test_local_files_give_the_same_bytes_twice_without_torch_or_datasets(tmp_path):
    (tmp_path / "x.txt").write_text("one\ntwo\n")
    settings = {"source": "local", "files": {"train": ["x.txt"]}}
    code = (
        "import sys; from pathlib import Path; from retune import download;"
        " from retune.settings import DatasetSettings;"
        f" s = DatasetSettings.model_validate({settings!r});"
        " download.run(s, Path(sys.argv[1]));"
        " print({'torch', 'datasets', 'transformers'} & set(sys.modules))"
    )
    paths = ":".join(path for path in sys.path if path)
    for seed, target in [("1", "one"), ("2", "two")]:
        printed = subprocess.run(
            [sys.executable, "-c", code, target],
            cwd=tmp_path,
            env={
                "PYTHONPATH": paths,
                "PYTHONHASHSEED": seed,
            },
            capture_output=True,
            text=True,
            check=True,
        )
        assert printed.stdout == "set()\n"
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_rows_are_joined_into_documents_that_begin_at_a_match():
    rows = ["", " = A = \n", "", "a1 \n", None, "= = s = =\n", " = B = \n", "b1"]
    rows = [Row(text, f"g{number}") for number, text in enumerate(rows)]
    assert list(download.join_rows(rows, r"^ = [^=].* = \n?$")) == [
        (1, Row(" = A = \n\na1 \n\n= = s = =", "g1")),
        (6, Row(" = B = \nb1", "g6")),
    ]


def test_text_before_the_first_match_is_a_document_of_its_own():
    rows = [Row(text, None) for text in ("", "preface", "", "# A", "a")]
    assert list(download.join_rows(rows, "^# ")) == [
        (1, Row("preface\n", None)),
        (3, Row("# A\na", None)),
    ]


@pytest.mark.parametrize(
    ("pattern", "message"), [("^#", "matches no row"), ("(", "missing \\)")]
)
def test_a_pattern_that_cannot_be_right_is_an_error(pattern, message):
    with pytest.raises(RetuneError, match=f"dataset.document_start: .*{message}"):
        list(download.join_rows([Row("a", None)], pattern))


def test_documents_of_joined_rows_keep_the_number_of_their_first_row(tmp_path):
    (tmp_path / "x.txt").write_text("# A\na\n# B\n")
    run_local(tmp_path / "raw", {"train": [tmp_path / "x.txt"]}, document_start="^# ")
    assert rows_of(tmp_path / "raw") == [
        ("train-000000000", "train-000000000", "# A\na"),
        ("train-000000002", "train-000000002", "# B"),
    ]


def test_parquet_is_read_in_memory_that_its_size_does_not_raise(tmp_path):
    text = [f"{number} {'x' * 500}" for number in range(20_000)]
    pl.DataFrame({"text": text}).write_parquet(
        tmp_path / "x.parquet", row_group_size=1000, compression="uncompressed"
    )
    settings = DatasetSettings(source="local", files={"train": ["x.parquet"]})
    before = pa.total_allocated_bytes()
    highest = 0
    for _ in read_file(settings, tmp_path / "x.parquet"):
        highest = max(highest, pa.total_allocated_bytes() - before)
    assert highest < 4e6 < (tmp_path / "x.parquet").stat().st_size


def test_row_groups_are_bounded_and_lose_nothing(monkeypatch, tmp_path):
    monkeypatch.setattr(download, "ROW_GROUP_CHARACTERS", 1000)
    documents = [download.Document(str(n), "g", "x" * 200) for n in range(10)]
    assert download.write_documents(tmp_path / "x.parquet", documents) == 10
    metadata = download.pq.read_metadata(tmp_path / "x.parquet")
    assert metadata.num_row_groups == 3
    assert pl.read_parquet(tmp_path / "x.parquet").rows() == documents


def test_the_builtin_corpus_arrives_as_one_split(tmp_path):
    result = download.run(DatasetSettings(source="builtin"), tmp_path / "raw")
    assert result.startswith("train ")
    manifest = json.loads((tmp_path / "raw/manifest.json").read_text())
    assert manifest["source"] == "builtin"
    assert [file["path"] for file in manifest["files"]] == ["train.parquet"]
    assert manifest["documents"] == len(rows_of(tmp_path / "raw"))


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}
