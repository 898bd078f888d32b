"""Bad data of every kind: a line or two that say where and what, and nothing is left.

Each case is a file as a user may have it, taken through `download`, `prepare` and
`tokenize` on the command line until a step refuses it.
"""

import gzip
import json
import shutil

import pytest
import yaml

from retune.artifacts.publishing import write_manifest
from retune.chat.template import FILE
from retune.cli.main import main
from tiny_run import make_base

CHATML = (
    "{% for message in messages %}<{{ message.role }}>{{ message.content }}"
    "{% if message.role == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
ALTERNATING = (
    "{% for message in messages %}"
    "{% if (message.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}{% endfor %}" + CHATML
)
NO_SYSTEM = (
    "{% if messages[0].role == 'system' %}"
    "{{ raise_exception('no system role') }}{% endif %}" + CHATML
)
DEAF = (
    "{% for message in messages %}{% if message.role != 'tool' %}"
    "<{{ message.role }}>{{ message.content }}{% endif %}{% endfor %}"
)


def say(role, content, **more):
    return {"role": role, "content": content, **more}


def talk(*messages, **more):
    return {"messages": list(messages), **more}


def good(number=0):
    return talk(say("user", f"red {number}"), say("assistant", f"green blue {number}"))


ROWS = [good(number) for number in range(40)]
ASK, REPLY = say("user", "red"), say("assistant", "green")
TOOL = {"type": "function", "function": {"name": "add", "parameters": {}}}


def call(arguments, name="add"):
    return {"type": "function", "function": {"name": name, "arguments": arguments}}


def lines(*rows):
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def among(bad, place=7):
    """Return good rows with a bad one among them, as JSON lines."""
    return lines(*ROWS[:place], bad, *ROWS[place:])


ROW = "x.jsonl, line 8"

# Name -> (file, its bytes, what it says of the dataset, words of the error).
AT_DOWNLOAD = {
    "no format": (
        "x.jsonl",
        lines({"a": 1, "b": 2}),
        {},
        ["x.jsonl, line 1", "fits no format", "a, b"],
    ),
    "questions and answers": (
        "x.jsonl",
        lines({"question": "Who?", "answer": "I."}),
        {},
        ["x.jsonl, line 1", "columns: {", "question", "answer"],
    ),
    "preferences": (
        "x.jsonl",
        lines({"prompt": "Who?", "chosen": "I.", "rejected": "You."}),
        {},
        ["x.jsonl, line 1", "chosen"],
    ),
    "two formats": (
        "x.jsonl",
        lines({"text": "red", **good()}),
        {},
        ["dataset.format", "x.jsonl, line 1"],
    ),
    "a column that is not there": (
        "x.jsonl",
        lines({"instruction": "red"}),
        {"format": "instruction"},
        ["x.jsonl, line 1", "output"],
    ),
    "a named column that is not there": (
        "x.jsonl",
        lines({"instruction": "red", "answer": "green"}),
        {"format": "instruction", "columns": {"output": "reply"}},
        ["x.jsonl, line 1", "reply"],
    ),
    "another format in a later row": (
        "x.jsonl",
        among({"instruction": "red", "output": "green"}),
        {},
        [ROW, "messages"],
    ),
    "an unknown role": (
        "x.jsonl",
        among(talk(say("pirate", "red"), REPLY)),
        {},
        [ROW, "messages[0]", "pirate", "assistant"],
    ),
    "a message that is a text": (
        "x.jsonl",
        among(talk("red", REPLY)),
        {},
        [ROW, "messages[0]"],
    ),
    "a message without a role": (
        "x.jsonl",
        among(talk({"content": "red"}, REPLY)),
        {},
        [ROW, "messages[0]"],
    ),
    "a message without a content": (
        "x.jsonl",
        among(talk({"role": "user"}, REPLY)),
        {},
        [ROW, "messages[0]"],
    ),
    "a content that is a number": (
        "x.jsonl",
        among(talk(say("user", 5), REPLY)),
        {},
        [ROW, "messages[0].content"],
    ),
    "a content that is an object": (
        "x.jsonl",
        among(talk(say("user", {"a": None}), REPLY)),
        {},
        [ROW, "messages[0].content"],
    ),
    "messages that are an object": (
        "x.jsonl",
        among({"messages": {"role": "user"}}),
        {},
        [ROW, "messages"],
    ),
    "messages that are a number": (
        "x.jsonl",
        among({"messages": 5}),
        {},
        [ROW, "messages"],
    ),
    "an image": (
        "x.jsonl",
        among(talk(say("user", [{"type": "image_url", "image_url": {}}]), REPLY)),
        {},
        [ROW, "messages[0].content[0]", "image_url"],
    ),
    "a part without a text": (
        "x.jsonl",
        among(talk(say("user", [{"type": "text"}]), REPLY)),
        {},
        [ROW, "messages[0].content[0]"],
    ),
    "nested nulls": (
        "x.jsonl",
        among(talk(say("user", [[None]]), REPLY)),
        {},
        [ROW, "messages[0].content[0]"],
    ),
    "arguments that are no JSON": (
        "x.jsonl",
        among(talk(ASK, say("assistant", None, tool_calls=[call("{a: 1")]))),
        {},
        [ROW, "messages[1].tool_calls[0]", "arguments"],
    ),
    "arguments that are a list": (
        "x.jsonl",
        among(talk(ASK, say("assistant", None, tool_calls=[call([1])]))),
        {},
        [ROW, "messages[1].tool_calls[0]", "arguments"],
    ),
    "a call without a name": (
        "x.jsonl",
        among(talk(ASK, say("assistant", "", tool_calls=[{"function": {}}]))),
        {},
        [ROW, "messages[1].tool_calls[0]"],
    ),
    "tools that are no JSON": (
        "x.jsonl",
        among({**good(), "tools": "[{"}),
        {},
        [ROW, "tools"],
    ),
    "a tool that is a text": (
        "x.jsonl",
        among({**good(), "tools": ["add"]}),
        {},
        [ROW, "tools[0]"],
    ),
    "a weight of a half": (
        "x.jsonl",
        among(talk(ASK, {**REPLY, "weight": 0.5})),
        {},
        [ROW, "messages[1]", "0.5"],
    ),
    "train that is a text": (
        "x.jsonl",
        among(talk(ASK, {**REPLY, "train": "no"})),
        {},
        [ROW, "messages[1].train"],
    ),
    "a prompt as text, its completion as messages": (
        "x.jsonl",
        lines({"prompt": "red", "completion": [REPLY]}),
        {},
        ["x.jsonl, line 1", "prompt", "completion"],
    ),
    "an output that is a list": (
        "x.jsonl",
        lines({"instruction": "red", "output": ["green"]}),
        {},
        ["x.jsonl, line 1", "output"],
    ),
    "half of a surrogate pair": (
        "x.jsonl",
        lines(*ROWS[:7]) + rb'{"messages": [{"role": "user", "content": "\ud83d"}]}',
        {},
        [ROW, "surrogate"],
    ),
    "no JSON": ("x.jsonl", lines(*ROWS[:7]) + b"{oops\n", {}, [ROW, "JSON"]),
    "a list per line": ("x.jsonl", lines(*ROWS[:7]) + b"[1]\n", {}, [ROW, "object"]),
    "a key twice": (
        "x.jsonl",
        lines(*ROWS[:7]) + b'{"messages": [], "messages": []}\n',
        {},
        [ROW, "messages"],
    ),
    "a key twice in a message": (
        "x.jsonl",
        lines(*ROWS[:7]) + b'{"messages": [{"role": "user", "role": "assistant"}]}\n',
        {},
        [ROW, "messages[0]", "role"],
    ),
    "nested too deeply": (
        "x.jsonl",
        lines(*ROWS[:7]) + b'{"messages": ' + b"[" * 99_999 + b"\n",
        {},
        [ROW, "nested"],
    ),
    "an array that ends early": (
        "x.json",
        json.dumps(ROWS).encode()[:-1],
        {},
        ["x.json", "JSON"],
    ),
    "an array that goes on": (
        "x.json",
        json.dumps(ROWS).encode() + b"1",
        {},
        ["x.json", "goes on"],
    ),
    "invalid UTF-8": (
        "x.jsonl",
        lines(*ROWS[:7]) + b'{"messages": "\xff"}\n',
        {},
        [ROW, "UTF-8"],
    ),
    "UTF-16": ("x.jsonl", "a\n".encode("utf-16"), {}, ["x.jsonl", "UTF-16"]),
    "binary as text": ("x.txt", b"\x00\x01\x02" * 99, {}, ["x.txt", "NUL"]),
    "binary as JSON lines": ("x.jsonl", bytes(range(256)), {}, ["x.jsonl"]),
    "a gzip that is cut off": (
        "x.jsonl.gz",
        gzip.compress(lines(*ROWS))[:-20],
        {},
        ["x.jsonl.gz", "cannot be read"],
    ),
    "a parquet file that is none": ("x.parquet", b"PAR1", {}, ["x.parquet"]),
    "an empty file": ("x.jsonl", b"", {}, ["x.jsonl", "no rows"]),
    "a file of blank lines": ("x.jsonl", b"\n\n", {}, ["x.jsonl", "no rows"]),
    "more fields than the header": (
        "x.csv",
        b"instruction,output\nred,green,blue\n",
        {},
        ["x.csv, line 2", "3 fields"],
    ),
    "quotes that do not match": (
        "x.tsv",
        b'instruction\toutput\nred\t"green\n',
        {},
        ["x.tsv", "quotes"],
    ),
    "messages in a CSV file that are no JSON": (
        "x.csv",
        b"messages\nred\n",
        {},
        ["x.csv, line 2", "messages"],
    ),
    "a file that is not there": ("x.jsonl", None, {}, ["no file matches x.jsonl"]),
    "a name with another ending": ("x.doc", b"red", {}, ["x.doc", ".jsonl"]),
    "a folder without texts": (
        "texts/x.doc",
        b"red",
        {"files": "texts/"},
        ["texts/", ".jsonl"],
    ),
}

AT_PREPARE = {
    "empty answers": (
        "x.jsonl",
        lines(*[talk(ASK, say("assistant", " "))] * 9, *ROWS),
        {},
        ["prepare.max_rejected_share", "answer_missing", "train-000000000"],
    ),
    "null answers": (
        "x.jsonl",
        lines(*[{"instruction": f"r{n}", "output": None} for n in range(9)]),
        {},
        ["prepare.max_rejected_share", "9 of 9", "answer_missing"],
    ),
    "no question": (
        "x.jsonl",
        lines(*[talk(say("assistant", f"green {n}")) for n in range(9)]),
        {},
        ["prepare.max_rejected_share", "question_missing"],
    ),
    "nothing trained": (
        "x.jsonl",
        lines(*[talk(ASK, {**REPLY, "train": False})] * 9, *ROWS),
        {},
        ["prepare.max_rejected_share", "nothing_trained"],
    ),
    "only users": (
        "x.jsonl",
        lines(*[talk(say("user", f"red {n}")) for n in range(9)]),
        {},
        ["prepare.max_rejected_share", "nothing_trained"],
    ),
    "no messages": (
        "x.jsonl",
        lines(*[talk()] * 9, *ROWS),
        {},
        ["prepare.max_rejected_share", "no_messages"],
    ),
    "NUL characters": (
        "x.jsonl",
        lines(*[talk(ASK, say("assistant", f"a\0{n}")) for n in range(9)], *ROWS),
        {},
        ["prepare.max_rejected_share", "text_with_nul"],
    ),
    "one row, and two copies": (
        "x.jsonl",
        lines(good(), good(), good()),
        {},
        ["prepare", "1 example", "3 splits"],
    ),
    "two rows": ("x.jsonl", lines(good(1), good(2)), {}, ["prepare", "2 examples"]),
}

# Name -> (rows beside good ones, chat template, words of the error).
AT_TOKENIZE = {
    "no chat template": (good(), None, ["model.chat_template", "alpaca"]),
    "a template that is no Jinja": (
        good(),
        "{% for message in messages %}{{ message.",
        ["chat template", "line 1"],
    ),
    "two assistants in a row": (
        talk(ASK, REPLY, REPLY),
        ALTERNATING,
        ["train.parquet, train-0000000", "roles must alternate"],
    ),
    "a system message": (
        talk(say("system", "brief"), ASK, REPLY),
        NO_SYSTEM,
        ["train.parquet, train-0000000", "no system role"],
    ),
    "tools that the template does not show": (
        talk(ASK, REPLY, tools=[TOOL]),
        CHATML,
        ["train.parquet, train-0000000", "tools"],
    ),
    "a call that the template leaves out": (
        talk(ASK, say("assistant", None, tool_calls=[call({"a": 1})])),
        CHATML,
        ["train.parquet, train-0000000", "messages[1].tool_calls", "add"],
    ),
    "an answer of a tool that the template leaves out": (
        talk(ASK, REPLY, say("tool", "blue"), REPLY),
        DEAF,
        ["train.parquet, train-0000000", "messages[2].content", "blue"],
    ),
    "a thought that the template leaves out": (
        talk(ASK, {**REPLY, "reasoning_content": "because"}),
        CHATML,
        ["train.parquet, train-0000000", "reasoning_content", "because"],
    ),
    "a template that writes nothing": (
        good(),
        "{{ '' }}",
        ["train.parquet, train-0000000"],
    ),
    "a template that needs what no message has": (
        good(),
        "{{ messages[0].age + 1 }}",
        ["train.parquet, train-0000000", "age"],
    ),
}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "base"
    make_base(folder)
    return folder


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The folder in which the user stands."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_params(folder, dataset, **more):
    params = {"dataset": dataset, "model": "builtin", **more}
    (folder / "params.yaml").write_text(yaml.safe_dump(params))


COMMANDS = {
    "download": ["--raw", "data/raw"],
    "prepare": [
        *("--raw", "data/raw", "--clean", "data/clean"),
        *("--metrics", "metrics/data.json"),
    ],
    "tokenize": [
        *("--clean", "data/clean", "--base", "models/base"),
        *("--tokens", "data/tokens", "--metrics", "metrics/tokens.json"),
    ],
}
MADE = {"download": "data/raw", "prepare": "data/clean", "tokenize": "data/tokens"}


def run(step):
    return main([step, "--params", "params.yaml", *COMMANDS[step]])


def error_of(step, capsys):
    """Return the error of a step that must fail, which has published nothing."""
    assert run(step) == 1
    message = capsys.readouterr().err
    assert "Traceback" not in message
    return message[message.index("error: ") :]


@pytest.mark.parametrize("case", AT_DOWNLOAD)
def test_download_says_where_and_what(folder, capsys, case):
    name, content, dataset, words = AT_DOWNLOAD[case]
    if content is not None:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    write_params(folder, {"files": name, **dataset})
    message = error_of("download", capsys)
    assert [word for word in words if word not in message] == []
    assert len(message.splitlines()) <= 2
    assert not (folder / "data/raw").exists()


@pytest.mark.parametrize("case", AT_PREPARE)
def test_prepare_says_which_and_why(folder, capsys, case):
    name, content, dataset, words = AT_PREPARE[case]
    (folder / name).write_bytes(content)
    write_params(folder, {"files": name, **dataset})
    assert run("download") == 0
    message = error_of("prepare", capsys)
    assert [word for word in words if word not in message] == []
    assert not (folder / "data/clean").exists()
    assert not (folder / "metrics/data.json").exists()


@pytest.mark.parametrize("case", AT_TOKENIZE)
def test_tokenize_says_which_row_and_why(folder, base, capsys, case):
    bad, template, words = AT_TOKENIZE[case]
    (folder / "x.jsonl").write_bytes(lines(*ROWS, *[bad] * 3, bad))
    write_params(folder, {"files": "x.jsonl"}, tokenize={"sequence_length": 16})
    shutil.copytree(base, folder / "models/base")
    if template:
        (folder / "models/base" / FILE).write_text(template)
        write_manifest(folder / "models/base")
    assert run("download") == 0
    assert run("prepare") == 0
    message = error_of("tokenize", capsys)
    assert [word for word in words if word not in message] == []
    assert len(message.splitlines()) <= 4
    assert not (folder / "data/tokens").exists()
    assert not (folder / "metrics/tokens.json").exists()


def test_a_line_of_50_megabytes_is_read(folder):
    question = "red " * 13_000_000
    (folder / "x.jsonl").write_bytes(among(talk(say("user", question), REPLY)))
    write_params(folder, {"files": "x.jsonl"})
    assert run("download") == 0


def test_a_name_that_leaves_the_folder_is_a_path_like_any_other(folder, capsys):
    write_params(folder, {"files": "../../nowhere.jsonl"})
    assert "no file matches ../../nowhere.jsonl" in error_of("download", capsys)
