"""Rows of JSON: an object per line, or one array, of any size."""

import json

import pytest

from download_case import download_texts, refusal_of, rows_of, run_local
from retune.sources import json_window


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The folder in which the user stands."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


ARRAY = [
    {"text": f'{number} ü\n{"x" * number} \\"[', "by": number} for number in range(50)
]


@pytest.mark.parametrize("at_once", [1, 7, 100, 2**20])
@pytest.mark.parametrize("indent", [None, 1])
def test_an_array_is_read_in_pieces_of_any_size(folder, monkeypatch, at_once, indent):
    monkeypatch.setattr(json_window, "CHARACTERS_AT_ONCE", at_once)
    for ensure_ascii in (False, True):
        content = json.dumps(ARRAY, indent=indent, ensure_ascii=ensure_ascii)
        (folder / "x.json").write_text(f"\n {content} \n")
        run_local(folder / "raw", {"train": ["x.json"]}, group_column="by")
        assert [row[1:] for row in rows_of(folder / "raw")] == [
            (str(row["by"]), row["text"]) for row in ARRAY
        ]


@pytest.mark.parametrize("name", ["x.json", "x.jsonl"])
@pytest.mark.parametrize(
    "content", ['{"text": "a"}\n{"text": "b"}', '[{"text": "a"}, {"text": "b"}]']
)
def test_what_json_is_does_not_depend_on_its_ending(folder, name, content):
    (folder / name).write_text(content)
    assert download_texts(name)[1] == ["a", "b"]


@pytest.mark.parametrize("at_once", [1, 2**20])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('[{"text": "a"},\n{"text": }]', "line 2 is not JSON: Expecting value"),
        ('[{"text": "a"},\n{"text": "b"}', "line 2 is not JSON: the end of the file"),
        ('[{"text": "a"}\n{"text": "b"}]', "line 2 is not JSON: '{' where ',' or ']'"),
        ('[{"text": "a"},\n]', "line 1 is not JSON: a comma before the closing ]"),
        ('[{"text": "a"}\n,]', "line 2 is not JSON: a comma before the closing ]"),
        ('[{"text": "a"},\n,]', "line 2 is not JSON: Expecting value"),
        ('[{"text": "a"},\n{\n"text":\n}]', "line 4 is not JSON: Expecting value"),
        (
            '{"text": "a"}\n{"text": }',
            "line 2 is not JSON: Expecting value at column 10",
        ),
        ('[{"text": "a"},\n5]', "line 2 is not a JSON object"),
        ('[{"text": "a"},\n{"text": "b', "line 2 is not JSON: Unterminated string"),
        ('[{"text": "a"}]\n[{"text": "b"}]', "line 2 goes on after its array"),
        ('[{"text": "a"},\n{"text": 5}]', "line 2, text is int, should be text"),
        ('[{"text": "a"},\n{"text": "b", "text": "c"}]', "line 2 has 2 columns 'text'"),
        ('[{"text": "a"},\n{"text": "\\ud83d"}]', "line 2 holds half of a surrogate"),
        ("[]", "split train holds no rows"),
        ("[", "line 1 is not JSON"),
        ('{\n "text": "a"\n}', "line 1 is not JSON: Expecting property name"),
        ('{\n "text": "a"\n}', "(each object needs a line, or all an array)"),
        ('[{"text": "caf\udce9"}]', "is not UTF-8 (byte 0xe9)"),
    ],
)
def test_a_wrong_array_is_refused_with_its_line(
    folder, monkeypatch, content, message, at_once
):
    monkeypatch.setattr(json_window, "CHARACTERS_AT_ONCE", at_once)
    (folder / "x.json").write_bytes(content.encode(errors="surrogateescape"))
    assert message in refusal_of("x.json")


@pytest.mark.parametrize("start", ['[{"text": "a"},', '{"text": "a"}'])
def test_a_number_of_too_many_digits_is_refused_with_its_line(folder, start):
    (folder / "x.json").write_text(f'{start}\n{{"text": "b", "n": {"1" * 5000}}}')
    assert "x.json, line 2 is not JSON: Exceeds the limit" in refusal_of("x.json")


@pytest.mark.parametrize(
    ("end", "message"),
    [
        (",\n]", "line 20002 is not JSON: a comma before the closing ]"),
        (',\n{"text":\n}]', "line 20004 is not JSON: Expecting value"),
        (",\n{'text': 5}]", "line 20003 is not JSON: Expecting property name"),
    ],
)
def test_a_mistake_far_into_an_array_has_the_line_of_the_file_alone(
    folder, end, message
):
    rows = ",\n".join(json.dumps({"text": f"{number:060}"}) for number in range(20_000))
    (folder / "x.json").write_text(f"[\n\n{rows}{end}")
    refusal = refusal_of("x.json")
    assert refusal.startswith(f"dataset.files: x.json, {message}")
    assert refusal.count("line") == 1


def test_an_array_is_not_read_on_behind_a_mistake(folder, monkeypatch):
    monkeypatch.setattr(json_window, "CHARACTERS_AT_ONCE", 100)
    (folder / "x.json").write_text("[{]" + " " * 10_000)
    with (folder / "x.json").open() as stream:
        window = json_window.JsonWindow(stream)
        window.next_character()
        window.skip()
        with pytest.raises(ValueError, match="Expecting property name"):
            window.take_value()
        assert stream.buffer.raw.tell() <= 8192
