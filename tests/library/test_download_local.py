"""The step `download`: files of the user, and the built-in corpus."""

import json
import subprocess
import sys

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from download_case import contents, parquet, rows_of, run_local
from retune.errors import RetuneError
from retune.examples import document_writer
from retune.examples.documents import Document, join_rows
from retune.examples.row_reader import RowReader
from retune.examples.rows import Row
from retune.settings import DatasetSettings
from retune.sources.local_files import read_file
from retune.steps import download

TWO_ROWS = {
    "jsonl": b'\xef\xbb\xbf{"text": "one, \\u00fc", "by": 7}\n\n{"text": null}\n',
    "parquet": parquet(text=["one, ü", None], by=[7, None]),
    "csv": 'by,text\n7,"one, ü"\n,\n'.encode(),
    "json": b'[{"text": "one, \\u00fc", "by": 7}, {"text": null}]\n',
    "txt": "one, ü\r\n\r\n".encode(),
}


@pytest.mark.parametrize("suffix", TWO_ROWS)
def test_each_local_format_gives_its_rows(tmp_path, suffix):
    source = tmp_path / f"data.{suffix}"
    source.write_bytes(TWO_ROWS[suffix])
    run_local(tmp_path / "raw", {"train": [source]}, txt_documents="line")
    nothing = None if suffix in ("jsonl", "json", "parquet") else ""
    assert rows_of(tmp_path / "raw") == [
        ("train-000000000", "train-000000000", "one, ü"),
        ("train-000000001", "train-000000001", nothing),
    ]


@pytest.mark.parametrize("suffix", ["jsonl", "json", "parquet", "csv"])
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
        (
            "x.jsonl",
            b'{"text": "a"}\n{"text": 5}\n',
            "line 2, text is int, should be text",
        ),
        ("x.jsonl", b'{"text": "a"}\n{"text"\n', "line 2 is not JSON"),
        ("x.jsonl", b"[1]\n", "line 1 is not a JSON object"),
        ("x.parquet", parquet(text=[1]), "row 1, text is int, should be text"),
        ("x.parquet", b"no parquet", "dataset.files: .*x.parquet cannot be read"),
        ("x.csv", b"", "fits no format; its columns: none"),
        ("x.jsonl", b"\n", r"split train holds no rows \(.*x.jsonl\)"),
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
        f"dataset.files.train: {tmp_path}/x.doc should end in .jsonl, .json, .parquet,"
        " .csv, .tsv, .txt (and .gz, .zst, .bz2, .xz after it)",
        f"dataset.files.test: no file matches {tmp_path}/*.jsonl",
    ]


def test_globs_give_their_files_in_order_and_once(tmp_path):
    for name in "bca":
        (tmp_path / f"{name}.txt").write_text(name)
    files = {"train": [tmp_path / "c.txt", tmp_path / "*.txt"]}
    run_local(tmp_path / "raw", files)
    assert [row[2] for row in rows_of(tmp_path / "raw")] == ["c", "a", "b"]


def test_local_files_give_the_same_bytes_twice_without_torch_or_datasets(tmp_path):
    (tmp_path / "x.txt").write_text("one\ntwo\n")
    settings = {"source": "local", "files": {"train": ["x.txt"]}}
    code = (
        "import sys; from pathlib import Path; from retune.steps import download;"
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
    assert list(join_rows(rows, r"^ = [^=].* = \n?$")) == [
        (1, Row(" = A = \n\na1 \n\n= = s = =", "g1")),
        (6, Row(" = B = \nb1", "g6")),
    ]


def test_text_before_the_first_match_is_a_document_of_its_own():
    rows = [Row(text, None) for text in ("", "preface", "", "# A", "a")]
    assert list(join_rows(rows, "^# ")) == [
        (1, Row("preface\n", None)),
        (3, Row("# A\na", None)),
    ]


@pytest.mark.parametrize(
    ("pattern", "message"), [("^#", "matches no row"), ("(", "missing \\)")]
)
def test_a_pattern_that_cannot_be_right_is_an_error(pattern, message):
    with pytest.raises(RetuneError, match=f"dataset.document_start: .*{message}"):
        list(join_rows([Row("a", None)], pattern))


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
    for _ in read_file(RowReader(settings), tmp_path / "x.parquet"):
        highest = max(highest, pa.total_allocated_bytes() - before)
    assert highest < 4e6 < (tmp_path / "x.parquet").stat().st_size


def test_row_groups_are_bounded_and_lose_nothing(monkeypatch, tmp_path):
    monkeypatch.setattr(document_writer, "ROW_GROUP_CHARACTERS", 1000)
    documents = [Document(str(n), "g", "x" * 200) for n in range(10)]
    assert document_writer.write_documents(tmp_path / "x.parquet", documents) == 10
    metadata = pq.read_metadata(tmp_path / "x.parquet")
    assert metadata.num_row_groups == 3
    assert pl.read_parquet(tmp_path / "x.parquet").rows() == documents


def test_the_builtin_corpus_arrives_as_one_split(tmp_path):
    result = download.run(DatasetSettings(source="builtin"), tmp_path / "raw")
    assert result.startswith("train ")
    manifest = json.loads((tmp_path / "raw/manifest.json").read_text())
    assert manifest["source"] == "builtin"
    assert [file["path"] for file in manifest["files"]] == ["train.parquet"]
    assert manifest["documents"] == len(rows_of(tmp_path / "raw"))
