"""What fetch makes of a base model's tokenizer, and what Transformers then encodes."""

import io
import logging
import sys

import pytest
from transformers import (
    AutoTokenizer,
    GPT2Config,
    LlamaConfig,
    PreTrainedConfig,
    Qwen2Config,
    Qwen2Tokenizer,
)

from retune.artifacts.publishing import read_json, write_json
from retune.errors import RetuneError
from retune.tokens.base_tokenizer import prepare_tokenizer
from retune.tokens.tokenizer import ModelTokenizer
from tiny_tokenizers import KINDS, byte_level, digits_in_threes

TEXT = "item 123456 costs 7919; 104729 and 1047290 or 209458;  it's\n\n  naïve 你好"
CONFIG = "tokenizer_config.json"


@pytest.fixture
def folder(tmp_path):
    write_json(tmp_path / "config.json", {"model_type": "llama", "vocab_size": 5000})
    return tmp_path


def prepare(folder, tokenizer=None, config=None, tokenizer_config=None):
    """Return the ids of BOS and EOS, and the tokenizer that every step uses."""
    if tokenizer:
        tokenizer.save(str(folder / "tokenizer.json"))
    if tokenizer_config is not None:
        write_json(folder / CONFIG, tokenizer_config)
    if not isinstance(config, PreTrainedConfig):
        config = LlamaConfig(**{"vocab_size": 5000, **(config or {})})
    marks = prepare_tokenizer(folder, config)
    return marks, ModelTokenizer(folder, 5000, marks)


def auto_encode(folder, text=TEXT):
    return AutoTokenizer.from_pretrained(folder)(text, add_special_tokens=False)[
        "input_ids"
    ]


def encodes_otherwise(folder, raw):
    """Return whether Transformers does, or does not even load the folder."""
    try:
        return auto_encode(folder) != raw.encode(TEXT).ids
    except TypeError:
        return True


@pytest.mark.parametrize(
    "named", ["GPT2Tokenizer", "Qwen2Tokenizer", "GPTNeoXTokenizerFast", "T5Tokenizer"]
)
def test_a_class_that_rebuilds_the_tokenizer_is_replaced(folder, named, caplog):
    caplog.set_level(logging.WARNING)
    raw = digits_in_threes()
    config = {"tokenizer_class": named, "eos_token": "<|endoftext|>", "own": 1}
    raw.save(str(folder / "tokenizer.json"))
    write_json(folder / CONFIG, config)
    assert encodes_otherwise(folder, raw)
    _, tokenizer = prepare(folder)
    assert list(tokenizer.encode([TEXT])) == [raw.encode(TEXT).ids]
    assert auto_encode(folder) == raw.encode(TEXT).ids
    # The same config but for what must differ.
    written = read_json(folder / CONFIG)
    assert written == {**config, "tokenizer_class": "PreTrainedTokenizerFast"}
    assert f"{CONFIG} names {named}, with which " in caplog.text


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"tokenizer_class": "PreTrainedTokenizerFast"}, {}),
        ({"tokenizer_class": "GPT2Tokenizer"}, {}),
        # Transformers 4 knows neither this class nor a list here.
        (
            {"tokenizer_class": "TokenizersBackend"},
            {"tokenizer_class": "PreTrainedTokenizerFast"},
        ),
        (
            {
                "tokenizer_class": "PreTrainedTokenizerFast",
                "extra_special_tokens": ["</s>"],
            },
            {"extra_special_tokens": None, "additional_special_tokens": ["</s>"]},
        ),
        # It changes the tokenizer where the two disagree.
        (
            {"tokenizer_class": "GPT2Tokenizer", "add_prefix_space": True},
            {"add_prefix_space": False},
        ),
    ],
    ids=str,
)
def test_a_config_that_both_transformers_read_is_kept(folder, config, expected, caplog):
    config = {**config, "eos_token": "</s>"}
    prepare(folder, byte_level(), tokenizer_config=config)
    wanted = {key: v for key, v in {**config, **expected}.items() if v is not None}
    assert read_json(folder / CONFIG) == wanted
    assert "encodes otherwise" not in caplog.text


def test_a_prefix_space_of_the_tokenizer_is_written_into_its_config(folder):
    raw = byte_level()
    raw.pre_tokenizer.add_prefix_space = True
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "</s>"}
    prepare(folder, raw, tokenizer_config=config)
    assert read_json(folder / CONFIG) == {**config, "add_prefix_space": True}
    assert auto_encode(folder, "dog") == raw.encode("dog").ids


def test_a_tokenizer_may_compose_characters_that_prepare_composes(folder):
    write_json(folder / "config.json", {"model_type": "qwen2", "vocab_size": 5000})
    plain = byte_level()
    own = Qwen2Tokenizer(vocab=plain.get_vocab(), merges=[])._tokenizer
    own.normalizer = None
    config = {"tokenizer_class": "Qwen2Tokenizer", "eos_token": "<|endoftext|>"}
    prepare(folder, own, Qwen2Config(vocab_size=5000), tokenizer_config=config)
    assert auto_encode(folder, "cafe\u0301") != own.encode("cafe\u0301").ids
    assert auto_encode(folder, "caf\u00e9") == own.encode("caf\u00e9").ids


def test_a_tokenizer_that_transformers_builds_whatever_is_written_is_refused(folder):
    write_json(folder / "config.json", {"model_type": "qwen2", "vocab_size": 5000})
    message = r"encodes .* otherwise than tokenizer.json .* for a model_type qwen2"
    with pytest.raises(RetuneError, match=message):
        prepare(
            folder,
            digits_in_threes(),
            Qwen2Config(vocab_size=5000),
            tokenizer_config={
                "tokenizer_class": "PreTrainedTokenizerFast",
                "eos_token": "<|endoftext|>",
            },
        )


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_encoded_alike_by_transformers(kind, folder):
    raw = KINDS[kind]()
    _, tokenizer = prepare(folder, raw, tokenizer_config={"eos_token": "</s>"})
    text = "The quick brown fox, and one word more."
    assert list(tokenizer.encode([text])) == [auto_encode(folder, text)]


@pytest.mark.parametrize(
    ("tokenizer_config", "config", "marks"),
    [
        ({"bos_token": "<s>", "eos_token": "</s>"}, {}, (1, 2)),
        ({"eos_token": {"__type": "AddedToken", "content": "</s>"}}, {}, (2, 2)),
        ({"bos_token": None, "eos_token": "</s>"}, {"bos_token_id": 1}, (2, 2)),
        # Nothing but config.json names them.
        ({}, {"bos_token_id": 1, "eos_token_id": 2}, (1, 2)),
        (None, {"bos_token_id": 1, "eos_token_id": 2}, (1, 2)),
        (None, {"bos_token_id": None, "eos_token_id": [2, 1]}, (2, 2)),
        # What the tokenizer does not have is not named.
        ({"eos_token": "<eos>"}, {"bos_token_id": 1, "eos_token_id": 2}, (1, 2)),
        # The tokenizer need not have it.
        ({}, {"bos_token_id": None, "eos_token_id": 4999}, (4999, 4999)),
    ],
)
def test_bos_and_eos_are_those_that_the_model_names(
    folder, tokenizer_config, config, marks
):
    found, _ = prepare(folder, byte_level(), config, tokenizer_config)
    assert found == marks


def test_where_no_file_names_them_the_family_does(folder):
    write_json(folder / "config.json", {"model_type": "gpt2", "vocab_size": 5000})
    found, _ = prepare(folder, digits_in_threes(), GPT2Config(vocab_size=5000), {})
    assert found == (0, 0)


def test_the_map_of_special_tokens_names_them_too(folder):
    write_json(folder / "special_tokens_map.json", {"eos_token": "</s>"})
    found, _ = prepare(folder, byte_level(), {"eos_token_id": 1}, {})
    assert found == (2, 2)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"eos_token_id": None},
            "no eos_token in tokenizer_config.json and no eos_tok",
        ),
        ({"eos_token_id": 5000}, "BOS and EOS tokens are 5000 and 5000, but its "),
    ],
)
def test_a_model_that_cannot_end_a_text_is_refused(folder, config, message):
    with pytest.raises(RetuneError, match=message):
        prepare(folder, byte_level(), {"bos_token_id": None, **config}, {})


WORDS = (
    "Anarchism is a 1st philosophy; naïve, it sees 12 things.\nIt costs 345 or 6.789!"
)
TRAINED = [
    {"model_type": "bpe", "byte_fallback": True, "split_digits": True, "plain": True},
    {"model_type": "bpe", "byte_fallback": True, "plain": True, "prefix": False},
    {"model_type": "bpe"},
    {"model_type": "unigram"},
    {"model_type": "unigram", "byte_fallback": True},
    {"model_type": "bpe", "user_defined_symbols": ["<sep>"], "prefix": False},
]


def train_sentencepiece(folder, plain=False, prefix=True, **options):
    """Write a tokenizer.model; a plain one does not normalize, as Llama's."""
    import sentencepiece

    rules = (
        {"normalization_rule_name": "identity", "remove_extra_whitespaces": False}
        if plain or not prefix
        else {}
    )
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([line for line in WORDS.split("\n")] * 20),
        model_writer=written,
        vocab_size=330 if options.get("byte_fallback") else 70,
        add_dummy_prefix=prefix,
        hard_vocab_limit=False,
        minloglevel=2,
        **rules,
        **options,
    )
    (folder / "tokenizer.model").write_bytes(written.getvalue())
    return sentencepiece.SentencePieceProcessor(model_proto=written.getvalue())


@pytest.mark.parametrize("options", TRAINED, ids=str)
def test_a_sentencepiece_model_is_encoded_as_sentencepiece_does(folder, options):
    processor = train_sentencepiece(folder, **options)
    marks, tokenizer = prepare(folder, config={"bos_token_id": 1, "eos_token_id": 2})
    assert marks == (1, 2)
    texts = [
        WORDS,
        "  two  spaces ",
        "",
        " ",
        "<s> a </s>",
        "Привет ☃ ﬁ cafe\u0301",
        "1",
    ]
    assert list(tokenizer.encode(texts)) == processor.encode(texts)
    assert tokenizer.decode(processor.encode("It costs 6.")) == "It costs 6."
    assert auto_encode(folder, WORDS) == processor.encode(WORDS)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model_type": "word"}, "of words or characters"),
        (
            {"model_type": "bpe", "treat_whitespace_as_suffix": True},
            "cannot be written as tokenizer.json, which would encode 'a' otherwise",
        ),
    ],
)
def test_what_tokenizer_json_cannot_say_is_refused(folder, options, message):
    train_sentencepiece(folder, **options)
    with pytest.raises(RetuneError, match=message):
        prepare(folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"IQ== 0\nIg== 1\n", "tokenizer.model is a tiktoken file"),
        (b"\x00\xff\x00 nothing", "is damaged, or no sentencepiece model"),
        (b"", "is damaged, or no sentencepiece model"),
    ],
)
def test_a_tokenizer_model_of_another_format_is_named(folder, content, message):
    (folder / "tokenizer.model").write_bytes(content)
    with pytest.raises(RetuneError, match=message):
        prepare(folder)


@pytest.mark.parametrize("missing", ["sentencepiece", "google.protobuf"])
def test_a_missing_package_is_named(folder, missing, monkeypatch):
    train_sentencepiece(folder, **TRAINED[0])
    import sentencepiece

    description = "sentencepiece_model_pb2"
    monkeypatch.delitem(sys.modules, f"sentencepiece.{description}", raising=False)
    monkeypatch.delattr(sentencepiece, description, raising=False)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(
        RetuneError,
        match=rf"sentencepiece model \(tokenizer.model\), and {missing} is not"
        " installed: pip install sentencepiece protobuf",
    ):
        prepare(folder)


def test_a_tokenizer_without_a_config_gets_one_that_names_the_marks(folder):
    (bos, eos), _ = prepare(
        folder, byte_level(), {"bos_token_id": 1, "eos_token_id": 2}
    )
    auto = AutoTokenizer.from_pretrained(folder)
    assert (auto.bos_token_id, auto.eos_token_id) == (bos, eos) == (1, 2)
