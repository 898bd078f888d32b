"""A settings file that cannot be read: line, column, what is wrong, what is right."""

import pytest

from retune.errors import RetuneError
from retune.settings.encodings import UTF_16
from retune.settings.params_file import (
    check_params_files,
    name_settings,
    read_params_file,
)


@pytest.fixture
def write(tmp_path):
    """Return a function that writes a settings file and returns its path."""

    def write(content):
        path = tmp_path / "params.yaml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


@pytest.fixture
def refused(write):
    """Return a function that writes a settings file and returns why it is refused."""

    def refused(content):
        with pytest.raises(RetuneError) as caught:
            read_params_file(write(content), "params.yaml")
        return str(caught.value)

    return refused


BROKEN = {
    "a tab": (
        "finetune:\n\tepochs: 1\n",
        "line 2, column 1: a tab; write spaces\n    →epochs: 1",
        "finetune:\n  epochs: 1\n",
    ),
    "a tab after a key": (
        "dataset:\tbuiltin\n",
        "line 1, column 9: a tab",
        "dataset: builtin\n",
    ),
    "a quote never closed": (
        'dataset: "my.jsonl\nmodel: gpt2\n',
        "line 1, column 10: this quote is never closed",
        'dataset: "my.jsonl"\nmodel: gpt2\n',
    ),
    "a quote closed by the next": (
        'dataset: "my.jsonl\nmodel: "gpt2"\n',
        "line 1, column 10: this quote is closed only on line 2",
        'dataset: "my.jsonl"\nmodel: "gpt2"\n',
    ),
    "a quote in quotes": (
        "sample:\n  prompts:\n    - 'it's'\n",
        "line 3, column 11: text after a closing quote",
        "sample:\n  prompts:\n    - 'it''s'\n",
    ),
    "a line too deep": (
        "finetune:\n  epochs: 1\n   seed: 2\n",
        "line 3, column 4: indented more than the key above it",
        "finetune:\n  epochs: 1\n  seed: 2\n",
    ),
    "a line not deep enough": (
        "finetune:\n  epochs: 1\n seed: 2\n",
        "line 3, column 2: begins in column 2, unlike the lines above",
        "finetune:\n  epochs: 1\n  seed: 2\n",
    ),
    "a first line that is indented": (
        " dataset: builtin\nmodel: gpt2\n",
        "line 2, column 1: begins in column 1, unlike the lines above",
        "dataset: builtin\nmodel: gpt2\n",
    ),
    "a key without a colon": (
        "model: gpt2\nfinetune:\n  epochs 1\n  seed: 2\n",
        "line 3, column 3: no colon and space after this key",
        "model: gpt2\nfinetune:\n  epochs: 1\n  seed: 2\n",
    ),
    "a section without a colon": (
        "model: gpt2\nfinetune\n  epochs: 1\n",
        "line 2, column 1: no colon and space after this key",
        "model: gpt2\nfinetune:\n  epochs: 1\n",
    ),
    "a colon without a space": (
        "model:gpt2\nfinetune:\n  epochs: 1\n",
        "line 1, column 1: no colon and space after this key",
        "model: gpt2\nfinetune:\n  epochs: 1\n",
    ),
    "a section on one line": (
        "finetune: epochs: 1\n",
        "line 1, column 17: a second colon in one line",
        "finetune: {epochs: 1}\n",
    ),
    "a list on the line of its key": (
        "sample:\n  prompts: - a\n",
        "line 2, column 12: a list begins on the line after its key",
        "sample:\n  prompts: [a]\n",
    ),
    "a dash without a space": (
        "sample:\n  prompts:\n  -a\n  - b\n",
        "line 3, column 3: a list's dash needs a space after it",
        "sample:\n  prompts:\n  - a\n  - b\n",
    ),
    "a bracket never closed": (
        "dataset: {source: hub, name: x\nmodel: gpt2\n",
        "line 1, column 10: in what begins with { a comma or the closing } is missing",
        "dataset: {source: hub, name: x}\nmodel: gpt2\n",
    ),
    "a bracket at the end of the file": (
        "dataset: {\n",
        "line 1, column 10: in what begins with { a comma or the closing } is missing",
        "dataset: {}\n",
    ),
    "an inner bracket at the end of the file": (
        "a: [b, [c",
        "line 1, column 8: in what begins with [ a comma or the closing ] is missing",
        "a: [b, [c]]",
    ),
    "two commas": (
        "a: [b,,c]\n",
        "line 1, column 7: nothing stands before this comma",
        "a: [b,c]\n",
    ),
    "a regular expression that begins with a bracket": (
        "dataset:\n  document_start: [0-9]+\n",
        "line 2, column 19: a value that begins with [ has to stand in quotes",
        "dataset:\n  document_start: '[0-9]+'\n",
    ),
    "a glob that begins with a bracket": (
        "dataset: {a,b}.txt\nmodel: gpt2\n",
        "line 1, column 10: a value that begins with { has to stand in quotes",
        "dataset: '{a,b}.txt'\nmodel: gpt2\n",
    ),
    "text after a reference": (
        "a: &x 1\nb: *x y\n",
        "line 2, column 4: a value that begins with * has to stand in quotes",
        "a: &x 1\nb: '*x y'\n",
    ),
    "a reference to nothing": (
        "model: gpt2\nfinetune:\n  <<: *base\n  seed: 1\n",
        "line 3, column 7: no value above is marked &base; mark it, or put *base into",
        "x: &base {a: 1}\nfinetune:\n  <<: *base\n  seed: 1\n",
    ),
    "a no-break space": (
        "dataset:\u00a0a\n# b\nmodel: gpt2\n",
        "line 1, column 9: the space U+00A0 after the colon; write an ordinary one",
        "dataset: a\nmodel: gpt2\n",
    ),
    "a wide space in the last line": (
        "model: gpt2\ndataset:\u3000a\n",
        "line 2, column 9: the space U+3000 after the colon; write an ordinary one",
        "model: gpt2\ndataset: a\n",
    ),
    "a pattern without quotes": (
        "dataset: *.jsonl\n",
        "line 1, column 10: a value that begins with * has to stand in quotes",
        "dataset: '*.jsonl'\n",
    ),
    "a sign without quotes": (
        "sample:\n  prompts: [a, @b]\n",
        "line 2, column 16: a value that begins with @ has to stand in quotes",
        "sample:\n  prompts: [a, '@b']\n",
    ),
    "a tag": (
        "dataset: !mine x\n",
        "line 1, column 10: a value that begins with ! has to stand in quotes",
        "dataset: '!mine x'\n",
    ),
    "a path of Windows": (
        'dataset: "C:\\Users\\x.jsonl"\n',
        "line 1, column 15: in double quotes \\ begins an escape; write single quotes",
        "dataset: 'C:\\Users\\x.jsonl'\n",
    ),
    "a date of no calendar": (
        "model:\n  revision: 2020-13-45\n",
        "line 2, column 13: no YAML: month must be in 1..12; quotes make it text",
        "model:\n  revision: '2020-13-45'\n",
    ),
    "a second document": (
        "dataset: a\n---\nmodel: b\n",
        "line 2, column 1: a second document",
        "dataset: a\nmodel: b\n",
    ),
    "a merge that git left": (
        "model: gpt2\n<<<<<<< HEAD\ndataset: a\n=======\ndataset: b\n>>>>>>> x\n",
        "line 2, column 1: git could not merge this file",
        "model: gpt2\ndataset: b\n",
    ),
    "a control character": (
        "model: gpt2\ndataset: a\x1bb\n",
        "line 2, column 11: the character U+001B",
        "model: gpt2\ndataset: ab\n",
    ),
    "Latin-1": (
        "model: gpt2\ndataset: ä.txt\n".encode("latin-1"),
        "line 2, column 10: the byte 0xe4 is no UTF-8; save it as UTF-8",
        "model: gpt2\ndataset: ä.txt\n",
    ),
    "a list": (
        "- dataset: a\n- model: b\n",
        "line 1, column 1: the file is a list; it should be `key: value` lines",
        "dataset: a\nmodel: b\n",
    ),
    "text": (
        "dataset:a\nmodel:b\n",
        "line 1, column 1: the file is text; it should be `key: value` lines",
        "dataset: a\nmodel: b\n",
    ),
}


@pytest.mark.parametrize(("content", "said", "right"), BROKEN.values(), ids=BROKEN)
def test_what_is_broken_is_told_with_line_and_column(
    write, refused, content, said, right
):
    message = refused(content)
    assert message.startswith(f"params.yaml, {said}")
    assert len(message.splitlines()) == 2
    assert read_params_file(write(right))


@pytest.mark.parametrize(
    "value", ["!!bool maybe", "!!timestamp foo", "!!int x", "!!float x"]
)
def test_a_tag_that_does_not_suit_its_value_is_told(write, refused, value):
    told = refused(f"a: 1\nb: {value}\n")
    assert "line 2, column 4: " in told


@pytest.mark.parametrize("text", ["[" * 5000, '{"a":' * 5000])
def test_what_is_nested_too_deeply_is_told(write, refused, text):
    assert "is nested too deeply" in refused(text)


def test_an_empty_file_is_told_what_will_do(write, refused):
    message = refused("# nothing\n")
    assert message.startswith("params.yaml: holds no settings; two lines will do:\n")
    assert read_params_file(write(message.split("do:\n")[1].replace("    ", "")))


def test_utf_16_is_called_that(write, refused):
    for mark, encoding in zip(UTF_16, ("utf-16-le", "utf-16-be"), strict=True):
        content = mark + "dataset: a\n".encode(encoding)
        assert refused(content) == "params.yaml: is UTF-16; save it as UTF-8"
    assert read_params_file(write("dataset: a\n".encode("utf-8-sig")))


def test_keys_written_twice_are_all_told(write, refused):
    content = "dataset: a\nfinetune:\n  seed: 1\n  epochs: 2\n  seed: 3\ndataset: b\n"
    assert refused(content).splitlines() == [
        "params.yaml: 2 problems",
        "  dataset: is written twice, on lines 1 and 6; keep one of them",
        "  finetune.seed: is written twice, on lines 3 and 5; keep one of them",
    ]
    assert "a.b: is written twice, on lines 1 and 1" in refused("a: {b: 1, b: 2}\n")
    assert "a.b: is written twice" in refused("a:\n  - {b: 1, b: 2}\n")
    assert "dataset: is written twice" in refused('{"dataset": 1, "dataset": 2}')
    assert read_params_file(write("a:\n  - {b: 1}\n  - {b: 2}\nc: {b: 1}\n"))


def test_keys_that_yaml_reads_as_no_word_are_told(write, refused):
    assert refused("dataset: a\nyes: 1\nfinetune:\n  1: 2\n").splitlines() == [
        "params.yaml: 2 problems",
        "  yes: line 2: no setting; YAML reads this key as bool",
        "  finetune.1: line 4: no setting; YAML reads this key as int",
    ]
    assert read_params_file(write("dataset: a\n'yes': 1\n"))


def test_json_is_read_also_with_tabs(write):
    assert read_params_file(write('{\n\t"dataset": "a"\n}\n')) == {"dataset": "a"}
    text = '{\n\t"a": "\\ud83d\\ude00\\t"\n}\n'
    assert read_params_file(write(text)) == {"a": "\U0001f600\t"}


def test_keys_written_twice_are_told_in_json_with_tabs(refused):
    assert refused('{\n\t"a": {"b": 1,\n\t"b": 2}\n}\n').splitlines() == [
        "params.yaml: 1 problem",
        "  a.b: is written twice, on lines 2 and 3; keep one of them",
    ]


def test_anchors_may_be_merged_and_overwritten(write):
    path = write("a: &x {b: 1}\nc:\n  <<: *x\n  b: 2\nd: *x\n")
    assert read_params_file(path)["c"] == {"b": 2}


def test_the_workflows_own_file_may_be_missing_only_beside_another(
    tmp_path, monkeypatch, write
):
    monkeypatch.chdir(tmp_path)
    own, other = tmp_path / "own.yaml", write("dataset: a\n")
    with pytest.raises(
        RetuneError, match=f"there is none in {tmp_path}; run snakemake"
    ):
        check_params_files(own, [])
    check_params_files(own, [other])


def test_all_broken_files_are_told_by_their_names_in_this_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    own, other = tmp_path / "own.yaml", tmp_path / "other.yaml"
    own.write_text("- a\n")
    other.write_text("a: \tb\n")
    with pytest.raises(RetuneError) as caught:
        check_params_files(own, [other])
    assert "own.yaml, line 1, column 1: the file is a list" in str(caught.value)
    assert "\nother.yaml, line 1, column 4: a tab" in str(caught.value)
    assert str(tmp_path) not in str(caught.value)


def test_a_wrong_key_is_blamed_on_all_that_the_settings_are_made_of(
    tmp_path, monkeypatch, write
):
    monkeypatch.chdir(tmp_path)
    own, others = write("a: b\n"), [tmp_path / "o1.yaml", tmp_path / "o2.yaml"]
    assert name_settings(own, [], []) == "params.yaml"
    assert name_settings(own, [own], []) == "params.yaml"
    assert name_settings(own, others, []) == "params.yaml with o1.yaml, o2.yaml"
    assert name_settings(own, [], ["a"]) == "params.yaml with --config"
    own.unlink()
    assert name_settings(own, others, ["a"]) == "o1.yaml with o2.yaml, --config"
