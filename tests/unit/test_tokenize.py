"""Token streams hold every document whole, marked at both ends."""

import numpy as np
import polars as pl
import pytest
from tokenizers import ByteLevelBPETokenizer

from retune.errors import RetuneError
from retune.publishing import read_json
from retune.settings import TokenizeSettings
from retune.tokenize import run
from tiny_facts import tiny_facts

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
    starts = np.fromfile(tmp_path / "tokens/train.documents.bin", "<i8")
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
