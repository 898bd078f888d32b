"""Each row of a local file arrives as it was written, or file and line are named."""

import gzip
import json

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from retune.errors import RetuneError
from retune.settings import DatasetSettings
from retune.steps import download


@pytest.fixture
def read(tmp_path):
    """Return a function that downloads one file and returns groups and texts."""

    def download_file(name, content, **settings):
        path = tmp_path / name
        if isinstance(content, pa.Table):
            pq.write_table(content, path)
        elif isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text(content)
        files = {"train": [str(path)]}
        settings = DatasetSettings(source="local", files=files, **settings)
        download.run(settings, tmp_path / "raw")
        rows = pl.read_parquet(tmp_path / "raw/train.parquet")
        return rows.select("group", "text").rows()

    return download_file


@pytest.fixture
def refusal_of(read, tmp_path):
    """Return a function from a file to the error, its folder left out."""

    def refuse(name, content, **settings):
        with pytest.raises(RetuneError) as caught:
            read(name, content, **settings)
        assert not (tmp_path / "raw").exists()
        return str(caught.value).replace(f"{tmp_path}/", "")

    return refuse


def texts(rows):
    return [text for _, text in rows]


@pytest.mark.parametrize(
    ("row", "fields"),
    [("1,a text, with a comma", "3 fields"), ("1", "1 field"), ("1,a,", "3 fields")],
)
def test_a_csv_row_with_other_fields_than_the_header_is_refused(
    refusal_of, row, fields
):
    message = refusal_of("x.csv", f"id,text\n0,fine\n\n{row}\n")
    assert message == (
        f"dataset.files: x.csv, line 4 has {fields}, the header 2: a field that holds"
        " ',' or a line break needs quotes around it"
    )


def test_a_line_is_counted_as_the_file_has_them(refusal_of):
    message = refusal_of("x.csv", 'text,by\n"one\n\ntwo",a\n\n"three\nfour",b\nfive\n')
    assert message.startswith("dataset.files: x.csv, line 8 has 1 field, the header 2")


def test_a_quoted_csv_field_keeps_commas_quotes_and_line_breaks(read):
    content = b'text,by\r\n"one, ""two""\r\n\r\nthree",a\r\n\r\n"",b\r\n'
    assert read("x.csv", content, group_column="by") == [
        ("a", 'one, "two"\r\n\r\nthree'),
        ("b", ""),
    ]


def test_a_quote_inside_a_bare_csv_field_is_a_quote(read):
    assert texts(read("x.csv", 'text,by\nsay "hi" 5",a\n')) == ['say "hi" 5"']


@pytest.mark.parametrize(
    ("content", "begins", "found"),
    [
        ('text,by\na,b\n"open,c\nd,e\n', 3, "line 4"),
        ('text,by\n"a" b,c\n', 2, "line 2"),
        ('text,by\n"a\nb" c,d\n', 2, "line 3"),
        ('text,by\n"say \\"hi\\"",d\n', 2, "line 2"),
    ],
)
def test_csv_quotes_that_do_not_match_are_refused(refusal_of, content, begins, found):
    message = refusal_of("x.csv", content)
    assert message.startswith(
        f"dataset.files: x.csv, row of line {begins} has quotes that do not match: "
    )
    assert message.endswith(f", in {found}")


def twice(name):
    column = pa.array(["a text"])
    return pa.Table.from_arrays([column] * 3, ["text", "by", name])


@pytest.mark.parametrize("name", ["text", "by"])
@pytest.mark.parametrize(
    ("file", "content", "place"),
    [
        ("x.csv", lambda name: f"text,by,{name}\na,b,c\n", ""),
        ("x.parquet", twice, ""),
        (
            "x.jsonl",
            lambda name: f'{{"text": "a", "by": "b", "{name}": "c"}}\n',
            ", line 1",
        ),
        (
            "x.jsonl",
            lambda name: (
                '{"text": "a", "by": "b"}\n\n'
                f'{{"text": "a", "by": "b", "{name}": "c"}}\n'
            ),
            ", line 3",
        ),
    ],
)
def test_a_column_that_is_there_twice_is_refused(
    refusal_of, name, file, content, place
):
    key = {"text": "text_column", "by": "group_column"}[name]
    assert refusal_of(file, content(name), group_column="by") == (
        f"dataset.{key}: {file}{place} has 2 columns {name!r}, and which of them is"
        " meant is not known: rename the others"
    )


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("x.csv", "n,text,n\n1,fine,2\n"),
        ("x.jsonl", '{"n": 1, "text": "fine", "n": 2, "m": {"a": 1, "a": 2}}\n'),
        (
            "x.parquet",
            pa.Table.from_arrays(
                [pa.array([1]), pa.array(["fine"]), pa.array([2])], ["n", "text", "n"]
            ),
        ),
    ],
)
def test_a_column_that_is_not_read_may_be_there_twice(read, file, content):
    assert texts(read(file, content)) == ["fine"]


@pytest.mark.parametrize("column", ["text", "by"])
def test_half_a_surrogate_pair_is_refused_in_every_column_that_is_read(
    refusal_of, column
):
    rows = [{"text": "fine", "by": "a"}, {"text": "fine", "by": "b", column: "\ud83d"}]
    content = "".join(json.dumps(row) + "\n" for row in rows)
    assert refusal_of("x.jsonl", content, group_column="by") == (
        "dataset.files: x.jsonl, line 2 holds half of a surrogate pair, '\\ud83d', in"
        f" {column!r}: no text can hold that; mend the file"
    )


def test_half_a_surrogate_pair_elsewhere_does_not_matter_and_a_whole_one_is_text(read):
    content = '{"text": "\\ud83d\\ude00", "other": "\\ud83d"}\n'
    assert texts(read("x.jsonl", content)) == ["\N{GRINNING FACE}"]


@pytest.mark.parametrize("column", ["text", "by"])
def test_bytes_of_parquet_that_are_no_text_are_refused_by_row(refusal_of, column):
    bad = pa.Array.from_buffers(
        pa.string(),
        2,
        [None, pa.py_buffer(b"\0\0\0\0\1\0\0\0\2\0\0\0"), pa.py_buffer(b"a\xff")],
    )
    columns = {"text": pa.array(["x", "y"]), "by": pa.array(["x", "y"]), column: bad}
    assert refusal_of("x.parquet", pa.table(columns), group_column="by") == (
        f"dataset.files: x.parquet, row 2 holds bytes in {column!r} that are not UTF-8"
    )


HEADS = {"x.csv": b"text\n", "x.txt": b"", "x.jsonl": b'{"text": "fine"}\n'}


@pytest.mark.parametrize("file", HEADS)
def test_text_in_another_encoding_is_refused_with_its_line(refusal_of, file):
    line = HEADS[file].count(b"\n") + 2
    content = HEADS[file] + b'{"text": "fine"}\n{"text": "caf\xe9"}\n'
    if file == "x.csv":
        content = content.replace(b'"', b"")
    assert refusal_of(file, content) == (
        f"dataset.files: {file}, line {line} is not UTF-8 (byte 0xe9): convert the file"
    )


@pytest.mark.parametrize("file", HEADS)
def test_utf_16_is_called_that(refusal_of, file):
    content = "text\ncaf\u00e9\n".encode("utf-16")
    assert refusal_of(file, content) == (
        f"dataset.files: {file} is UTF-16, should be UTF-8: convert it"
    )


@pytest.mark.parametrize("file", HEADS)
def test_a_nul_byte_is_refused_with_its_line(refusal_of, file):
    message = refusal_of(file, HEADS[file] + b"a\0b\n")
    line = HEADS[file].count(b"\n") + 1
    assert message.startswith(f"dataset.files: {file}, line {line} holds a NUL byte")


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("x.csv", "\n\ntext\n\na\n\nb\n\n"),
        ("x.jsonl", '\n{"text": "a"}\n \n{"text": "b"}\n\n'),
    ],
)
def test_blank_lines_of_csv_and_jsonl_hold_no_row(read, file, content):
    assert texts(read(file, content)) == ["a", "b"]


@pytest.mark.parametrize("mark", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1e"])
@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("x.jsonl", '{{"text": "one{0}two"}}\n'),
        ("x.csv", "by,text\na,one{0}two\n"),
        ("x.txt", "one{0}two\n"),
    ],
)
def test_only_a_line_break_ends_a_line(read, file, content, mark):
    mark = json.dumps(mark)[1:-1] if file == "x.jsonl" and mark < " " else mark
    written = content.format(mark)
    expected = json.loads(f'"one{mark}two"') if "\\" in mark else f"one{mark}two"
    assert texts(read(file, written, txt_documents="line")) == [expected]


def test_json_may_hold_carriage_returns_between_its_parts(read):
    content = b'{"text":\r"one"}\r\n{"text": "two"}\r\n'
    assert texts(read("x.jsonl", content)) == ["one", "two"]


def test_one_number_is_one_group_however_it_is_spelt(read):
    values = ["1", "1.0", "1e0", '"1"', "1.5"]
    content = "".join(f'{{"text": "a", "by": {value}}}\n' for value in values)
    groups = [group for group, _ in read("x.jsonl", content, group_column="by")]
    assert groups == ["1", "1", "1", "1", "1.5"]


def test_a_blank_line_of_txt_is_a_row_where_lines_are_documents(read):
    rows = read("x.txt", "a\n\nb\n", txt_documents="line")
    assert texts(rows) == ["a", "", "b"]


@pytest.mark.parametrize("content", ["a\n\nb\n", "a", " a\t\n", "a\u2028b\n"])
def test_a_txt_file_is_one_document_as_it_was_written(read, content):
    assert texts(read("x.txt", content)) == [content]


def test_the_ends_of_all_lines_of_a_txt_document_are_alike(read):
    assert texts(read("x.txt", b"\xef\xbb\xbfa\r\n\r\nb\r\n")) == ["a\n\nb\n"]


@pytest.mark.parametrize("value", ["None", "NA", "null", "nan", "", "1", " x "])
def test_words_that_other_readers_take_for_nothing_are_text(read, value):
    assert read("x.csv", f"by,text\n{value},{value}\n", group_column="by") == [
        (value or "train-000000000", value)
    ]


@pytest.mark.parametrize(
    ("file", "content", "kind"),
    [
        ("x.jsonl", '{"text": "a", "by": {"a": 1}}\n', "line 1 is object"),
        ("x.jsonl", '{"text": "a", "by": ["b"]}\n', "line 1 is array"),
        (
            "x.parquet",
            pa.table({"text": ["a"], "by": [["b"]]}),
            "x.parquet is list<element: string>",
        ),
        ("x.parquet", pa.table({"text": ["a"], "by": [b"b"]}), "x.parquet is binary"),
    ],
)
def test_a_group_that_is_no_name_is_refused(refusal_of, file, content, kind):
    message = refusal_of(file, content, group_column="by")
    assert message.startswith("dataset.group_column: 'by' of x.")
    assert message.endswith(f"{kind}, should be text or a number")


@pytest.mark.parametrize(
    ("value", "kind"), [('{"a": 1}', "object"), ('["a"]', "array"), ("true", "boolean")]
)
def test_a_text_that_is_no_text_is_named_as_json_names_it(refusal_of, value, kind):
    assert refusal_of("x.jsonl", f'{{"text": {value}}}\n') == (
        f"dataset.files: x.jsonl, line 1, text is {kind}, should be text"
    )


@pytest.mark.parametrize("line", ["[" * 100_000, '{"text": ' + "9" * 5000 + "}"])
def test_json_that_no_parser_likes_is_refused(refusal_of, line):
    assert refusal_of("x.jsonl", line).startswith("dataset.files: x.jsonl, line 1 is ")


def test_a_compressed_file_that_is_cut_off_is_refused(refusal_of):
    content = gzip.compress(b"one\ntwo\n" * 1000)[:-10]
    message = refusal_of("x.txt", content)
    assert message.startswith("dataset.files: x.txt cannot be read: ")


@pytest.mark.parametrize(
    "name",
    [
        "a[1].txt",
        "{rule}.txt",
        "a b%20.txt",
        "~x.txt",
        "~/x.txt",
        "*.txt",
        "\u00fc?.txt",
        "a{1,2}.txt",
    ],
)
def test_a_file_of_that_very_name_is_it_and_no_glob(read, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    for other in ("a1.txt", "ax.txt", "\u00fc1.txt"):
        (tmp_path / other).write_text("another\n")
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("mine")
    settings = DatasetSettings(source="local", files={"train": [name]})
    download.run(settings, tmp_path / "raw")
    assert pl.read_parquet(tmp_path / "raw/train.parquet")["text"].to_list() == ["mine"]


def test_without_such_a_file_it_is_a_glob(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a1.txt").write_text("mine")
    settings = DatasetSettings(source="local", files={"train": ["a[1].txt"]})
    download.run(settings, tmp_path / "raw")
    assert pl.read_parquet(tmp_path / "raw/train.parquet")["text"].to_list() == ["mine"]
