"""Token streams hold every document whole, marked at both ends."""

import numpy as np
import polars as pl
import pytest
from tokenizers import ByteLevelBPETokenizer

from retune.artifacts.publishing import read_json, write_manifest
from retune.errors import RetuneError
from retune.settings import TokenizeSettings
from retune.steps.tokenize import run
from tiny_facts import tiny_facts
from tiny_tokenizers import bpe_without_unknown

TEXTS = [
    "The quick brown fox jumps over the lazy dog.",
    "Grüße, 你好, and 👋 too: bytes have no unknown.\n\n\n    Indented.",
    "x" * 50,
]
END = 0


@pytest.fixture
def base(tmp_path):
    folder = tmp_path / "base"
    folder.mkdir()
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(TEXTS, vocab_size=300, special_tokens=["<|end|>"])
    bpe.save(str(folder / "tokenizer.json"))
    write_facts(folder)
    return folder


def write_facts(folder, **changed):
    marks = {"bos_token_id": END, "eos_token_id": END}
    tiny_facts(**{**marks, **changed}).write(folder)


@pytest.fixture
def clean(tmp_path):
    folder = tmp_path / "clean"
    folder.mkdir()
    for split in ("train", "validation", "test"):
        pl.DataFrame({"text": TEXTS}).write_parquet(folder / f"{split}.parquet")
    return folder


def tokenize(tmp_path, clean, base, **settings):
    for folder in (clean, base):
        write_manifest(folder)
    line = run(
        TokenizeSettings(**settings),
        clean,
        base,
        tmp_path / "tokens",
        tmp_path / "metrics.json",
    )
    return line, read_json(tmp_path / "tokens/tokens.json")


def test_documents_come_back_whole_and_in_order(tmp_path, clean, base):
    from tokenizers import Tokenizer

    _, facts = tokenize(tmp_path, clean, base)
    stream = np.fromfile(tmp_path / "tokens/train.tokens.bin", facts["dtype"])
    starts = np.fromfile(tmp_path / "tokens/train.sequences.bin", "<i8")
    tokenizer = Tokenizer.from_file(str(base / "tokenizer.json"))
    documents = np.split(stream, starts[1:])
    assert [tokenizer.decode(part.tolist()) for part in documents] == TEXTS
    assert all(part[0] == part[-1] == END for part in documents)


def test_counts_are_those_of_the_stream(tmp_path, clean, base):
    _, facts = tokenize(tmp_path, clean, base)
    stream = np.fromfile(tmp_path / "tokens/train.tokens.bin", facts["dtype"])
    counts = np.load(tmp_path / "tokens/train.counts.npy")
    assert counts.sum() == len(stream) == facts["splits"]["train"]["tokens"]
    assert counts[END] == 2 * len(TEXTS)


def test_the_sequence_length_is_the_models_context_by_default(tmp_path, clean, base):
    assert tokenize(tmp_path, clean, base)[1]["sequence_length"] == 32


def test_large_vocabularies_get_four_bytes(tmp_path, clean, base):
    write_facts(base, vocab_size=70_000)
    assert tokenize(tmp_path, clean, base)[1]["dtype"] == "<u4"


def test_the_same_text_gives_the_same_bytes(tmp_path, clean, base):
    tokenize(tmp_path, clean, base)
    first = (tmp_path / "tokens/manifest.json").read_bytes()
    tokenize(tmp_path, clean, base)
    assert (tmp_path / "tokens/manifest.json").read_bytes() == first


@pytest.mark.parametrize(
    ("settings", "facts", "message"),
    [
        ({"sequence_length": 64}, {}, "tokenize.sequence_length: 64 .* 32 at most"),
        ({}, {"vocab_size": 50}, "do not belong together"),
        ({"sequence_length": 2000}, {"context_length": 4096}, "less than one block"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path, clean, base, settings, facts, message):
    write_facts(base, **facts)
    with pytest.raises(RetuneError, match=message):
        tokenize(tmp_path, clean, base, **settings)
    assert not (tmp_path / "tokens").exists()


def write_texts(clean, **texts):
    for split, rows in texts.items():
        pl.DataFrame({"text": rows}).write_parquet(clean / f"{split}.parquet")


def test_special_tokens_in_the_text_are_text_counted_and_told(
    tmp_path, clean, base, caplog
):
    write_texts(clean, train=["It ends <|end|> and goes on after <|end|>."] * 3)
    tokenize(tmp_path, clean, base)
    stream = np.fromfile(tmp_path / "tokens/train.tokens.bin", "<u2")
    assert (stream == END).sum() == 2 * 3
    metrics = read_json(tmp_path / "metrics.json")["splits"]
    assert metrics["train"]["special_tokens_spelled_out"] == 6
    assert metrics["test"]["special_tokens_spelled_out"] == 0
    assert "6 special tokens are spelled out in the text and were encoded as text;" in (
        caplog.text
    )


def test_special_tokens_that_are_meant_stay_special(tmp_path, clean, base, caplog):
    write_facts(base, split_special_tokens=False)
    write_texts(clean, train=["It ends <|end|> and goes on after <|end|>."] * 3)
    tokenize(tmp_path, clean, base)
    stream = np.fromfile(tmp_path / "tokens/train.tokens.bin", "<u2")
    assert (stream == END).sum() == 4 * 3
    assert (
        "6 special tokens are spelled out in the text and were encoded as special"
        in (caplog.text)
    )


@pytest.fixture
def english(base):
    """A tokenizer that drops every character but those of a few English words."""
    bpe_without_unknown().save(str(base / "tokenizer.json"))
    write_facts(base, bos_token_id=2, eos_token_id=2)
    return base


ENGLISH = ["the quick brown fox jumps over the lazy dog"] * 9


def test_text_for_another_tokenizer_stops_the_run(tmp_path, clean, english):
    write_texts(clean, train=ENGLISH, validation=ENGLISH, test=["Привет, мир"])
    message = (
        r"tokenize.max_lost_share: 0.01, but the tokenizer cannot represent 9 of"
        r" test's 11 characters \(82 %\): 'р' \(2\), 'и' \(2\), 'П' \(1\), "
    )
    with pytest.raises(RetuneError, match=message):
        tokenize(tmp_path, clean, english)
    assert not (tmp_path / "tokens").exists()


def test_a_few_lost_characters_are_told_everywhere(tmp_path, clean, english, caplog):
    write_texts(clean, train=[*ENGLISH, "a☃"], validation=ENGLISH, test=ENGLISH)
    line, _ = tokenize(tmp_path, clean, english)
    assert line.endswith("; 1 character lost")
    metrics = read_json(tmp_path / "metrics.json")["splits"]
    assert [metrics[split]["lost_characters"] for split in metrics] == [1, 0, 0]
    assert "cannot represent 1 of train's 389 characters (0.26 %): '☃' (1)" in (
        caplog.text
    )
    with pytest.raises(RetuneError, match="max_lost_share: 0.0, but"):
        tokenize(tmp_path, clean, english, max_lost_share=0)


def test_nothing_lost_is_not_worth_a_word(tmp_path, clean, base, caplog):
    line, _ = tokenize(tmp_path, clean, base)
    assert "lost" not in line
    assert not caplog.records


def test_an_empty_test_split_is_left_to_the_evaluation(tmp_path, clean, base):
    empty = pl.DataFrame({"text": []}, schema={"text": pl.String})
    empty.write_parquet(clean / "test.parquet")
    tokenize(tmp_path, clean, base)
    assert read_json(tmp_path / "metrics.json")["splits"]["test"]["tokens"] == 0
