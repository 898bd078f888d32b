"""`check` reads a local model by the code of `fetch`, and leaves it as it is."""

import json
from dataclasses import replace
from pathlib import Path
from tempfile import mkdtemp

import pytest

from retune.artifacts.origins import ModelOrigin
from retune.checking import base_model
from retune.checking.base_model import check_base_model
from retune.checking.data import check_data
from retune.checking.tokens import check_evaluation, check_tokens
from retune.settings import (
    DatasetSettings,
    EvaluateSettings,
    ModelSettings,
    PrepareSettings,
    TokenizeSettings,
)
from tiny_models import SENTENCES, build_tiny_model

MODEL, CONFIG = "model.safetensors", "config.json"


@pytest.fixture
def mine(tmp_path):
    """A local model, as its owner has it."""
    folder = build_tiny_model(tmp_path / "mine", context=64)
    (folder / "model_facts.json").unlink()
    return folder


def check(mine, scratch="base", made=Path("none"), is_fresh=False, **settings):
    folder = mine.parent / scratch
    folder.mkdir()
    model = ModelSettings.model_validate(
        {"source": "local", "folder": str(mine), **settings}
    )
    return check_base_model(model, folder, made, is_fresh)


def test_a_good_model_is_found_and_its_weights_are_not_copied(mine):
    before = {path: path.stat() for path in mine.iterdir()}
    base, outcome = check(mine)
    assert outcome.state == "ok"
    assert outcome.found.endswith(": GPT2LMHeadModel, 12,240 parameters")
    assert (base.folder / MODEL).is_symlink()
    assert base.facts.context_length == 64
    assert {path: path.stat().st_mtime_ns for path in mine.iterdir()} == {
        path: status.st_mtime_ns for path, status in before.items()
    }


def cut(folder, name):
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: len(content) // 2])


def change_config(folder, **values):
    config = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps(config | values))


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (lambda folder: cut(folder, MODEL), "has a damaged model.safetensors"),
        (lambda folder: cut(folder, CONFIG), "has a damaged config.json"),
        (lambda folder: (folder / CONFIG).unlink(), "lacks config.json"),
        (lambda folder: (folder / MODEL).unlink(), "holds no weights"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "lacks a tokenizer"),
        (lambda folder: change_config(folder, n_embd=32), "of another shape"),
        (lambda folder: change_config(folder, n_layer=3), "which would be random"),
        (lambda folder: change_config(folder, model_type="gpt9"), "no causal language"),
        (lambda folder: change_config(folder, auto_map={"a": "b"}), ""),
    ],
)
def test_a_bad_model_is_told(mine, harm, told):
    harm(mine)
    base, outcome = check(mine)
    if not told:  # Its family is known, so that its own code is not needed.
        assert outcome.state == "ok"
        return
    assert base is None
    (error,) = outcome.errors
    assert error.startswith("model.folder: ")
    assert told in error


def test_a_folder_and_a_template_that_are_not_there_are_told_at_once(tmp_path):
    _, outcome = check(tmp_path / "none", chat_template="mine.jinja")
    assert [error.split(":")[0] for error in outcome.errors] == [
        "model.chat_template",
        "model.folder",
    ]


def test_tokens_for_a_template_are_added_to_a_copy(mine, monkeypatch):
    content = (mine / MODEL).read_bytes()
    base, _ = check(mine, chat_template="chatml")
    assert len(base.facts.added_tokens) == 2
    assert base.has_template
    assert (mine / MODEL).read_bytes() == content
    monkeypatch.setattr(base_model, "LARGEST_COPY", 10)
    base, outcome = check(mine, "again", chat_template="chatml")
    assert outcome.state == "ok"
    assert not base.has_template
    # It needs no tokens.
    base, _ = check(mine, "alpaca", chat_template="alpaca")
    assert base.has_template


HUB = {"source": "hub", "name": "owner/tiny", "revision": "0" * 40}


def test_a_model_of_the_hub_is_no_error_before_it_is_fetched(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "")
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    settings = ModelSettings.model_validate(HUB)
    base, outcome = check_base_model(settings, tmp_path, tmp_path / "none", False)
    assert base is None
    assert outcome.state == "not checked"
    assert outcome.found.startswith("owner/tiny at 00000000: fetch downloads it")


def test_a_model_of_the_hub_that_was_fetched_is_used(tmp_path):
    made = build_tiny_model(tmp_path / "models")
    ModelOrigin(**HUB).write_into(made)
    settings = ModelSettings.model_validate(HUB)
    base, outcome = check_base_model(settings, tmp_path, made, False)
    assert (base.folder, base.has_template, outcome.state) == (made, False, "ok")
    other = settings.model_copy(update={"revision": "1" * 40})
    assert check_base_model(other, tmp_path, made, True)[0] is None


@pytest.fixture
def documents(tmp_path):
    """Return a function that makes the first documents of a dataset of these rows."""

    def look(rows, are_all=True):
        file = tmp_path / "rows.jsonl"
        file.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        (tmp_path / "raw").mkdir()
        dataset = DatasetSettings.model_validate(str(file))
        found, _ = check_data(dataset, tmp_path / "raw")
        return replace(found, are_all=are_all)

    return look


def talk(number, words="It is me, number"):
    return {
        "messages": [
            {"role": "user", "content": f"Who is there, {number}?"},
            {"role": "assistant", "content": f"{words} {number}."},
        ]
    }


def tokens(base, documents, tmp_path, **settings):
    scratch = Path(mkdtemp(dir=tmp_path))
    prepared, tokenize = PrepareSettings(), TokenizeSettings(**settings)
    return check_tokens(tokenize, prepared, base, documents, scratch)


def texts():
    return [
        {"text": f"{sentence} {number}"}
        for number in range(40)
        for sentence in SENTENCES
    ]


def test_all_texts_become_the_blocks_of_tokenize(mine, documents, tmp_path):
    base, _ = check(mine)
    sequences, outcome = tokens(base, documents(texts()), tmp_path)
    assert outcome.state == "ok"
    assert sequences.length == 64
    assert f"{sequences.blocks} blocks of 64" in outcome.found


def test_a_length_beyond_the_context_is_told(mine, documents, tmp_path):
    base, _ = check(mine)
    sequences, outcome = tokens(base, None, tmp_path, sequence_length=65)
    assert sequences is None
    assert outcome.errors[0].startswith("tokenize.sequence_length: 65 is longer")
    assert tokens(base, None, tmp_path)[1].state == "not checked"


def test_too_little_text_is_told_and_the_length_is_known(mine, documents, tmp_path):
    base, _ = check(mine)
    sequences, outcome = tokens(base, documents(texts()[:3]), tmp_path)
    assert outcome.state == "error"
    assert (sequences.length, sequences.blocks) == (64, None)


@pytest.mark.parametrize("are_all", [True, False])
def test_conversations_need_a_template(mine, documents, tmp_path, are_all):
    talks = [talk(number) for number in range(30)]
    base, _ = check(mine)
    given = documents(talks, are_all)
    _, outcome = tokens(base, given, tmp_path)
    assert outcome.errors[0].startswith("model.chat_template: auto, but the model has")
    base, _ = check(mine, "alpaca", chat_template="alpaca")
    sequences, outcome = tokens(base, given, tmp_path, sequence_length=64)
    assert outcome.state == "ok", outcome
    assert (sequences.blocks is not None) == are_all


def test_conversations_that_are_too_long_are_a_warning(mine, documents, tmp_path):
    base, _ = check(mine, chat_template="alpaca")
    given = documents([talk(1, "word " * 200)] * 3, are_all=False)
    _, outcome = tokens(base, given, tmp_path)
    (warning,) = outcome.warnings
    assert warning.startswith("tokenize.sequence_length: 64, but 100.0 % of the 3")


def test_a_conversation_that_cannot_be_trained_is_told(mine, documents, tmp_path):
    template = tmp_path / "mine.jinja"
    template.write_text("{{ raise_exception('It takes no questions.') }}")
    base, _ = check(mine, chat_template=str(template))
    talks = [talk(number) for number in range(5)]
    _, outcome = tokens(base, documents(talks, are_all=False), tmp_path)
    assert outcome.state == "error"
    assert "and 2 more of 5" in outcome.errors[0]


def test_windows_of_the_evaluation_must_suit_the_model(mine):
    base, _ = check(mine)
    assert check_evaluation(EvaluateSettings(), base).state == "ok"
    outcome = check_evaluation(EvaluateSettings(context_length=100), base)
    assert outcome.errors[0].startswith("evaluate.context_length: 100 is longer")
