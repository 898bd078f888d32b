"""What a config leaves out is taken from the model family, as transformers does."""

import pytest

from retune.artifacts.publishing import read_json, write_json
from retune.errors import RetuneError
from retune.models.find_model_facts import find_model_facts
from tiny_run import make_base


@pytest.fixture
def folder(tmp_path):
    make_base(tmp_path)
    return tmp_path


def test_a_config_like_gpt2s_says_little_and_is_understood(folder):
    tokenizer = (folder / "tokenizer.json").read_text()
    (folder / "tokenizer.json").write_text(
        tokenizer.replace("<|end|>", "<|endoftext|>")
    )
    write_json(folder / "tokenizer_config.json", {"model_max_length": 1024})
    config = read_json(folder / "config.json")
    del config["n_positions"]
    write_json(folder / "config.json", config)
    facts = find_model_facts(folder)
    assert (facts.vocab_size, facts.context_length) == (300, 1024)
    assert (facts.bos_token_id, facts.eos_token_id) == (0, 0)


def test_a_tokenizer_in_an_older_format_is_converted(folder):
    tokenizer = read_json(folder / "tokenizer.json")["model"]
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").unlink()
    write_json(folder / "vocab.json", {**tokenizer["vocab"], "<|endoftext|>": 299})
    merges = [" ".join(pair) for pair in tokenizer["merges"]]
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]))
    assert find_model_facts(folder).eos_token_id is not None
    assert (folder / "tokenizer.json").exists()


def test_a_model_that_cannot_end_a_text_is_refused(folder):
    config = read_json(folder / "config.json")
    write_json(folder / "config.json", {**config, "eos_token_id": None})
    write_json(
        folder / "tokenizer_config.json",
        {"tokenizer_class": "PreTrainedTokenizerFast"},
    )
    with pytest.raises(RetuneError, match="no eos_token"):
        find_model_facts(folder)
