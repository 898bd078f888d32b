"""The step `tokenize` on several sources: a training block holds one of them."""

from collections import Counter

import numpy as np
import polars as pl
import pytest
from tokenizers import ByteLevelBPETokenizer

from retune.artifacts.publishing import write_manifest
from retune.artifacts.tokens_index import TokenMetrics, TokensIndex
from retune.examples.example import Completion
from retune.settings import TokenizeSettings
from retune.steps.tokenize import run
from retune.tokens import split_tokens
from retune.tokens.blocks import PackedBlocks
from retune.tokens.store import StoredSequences
from tiny_facts import tiny_facts

WORDS = ["red", "green", "blue", "one", "two", "three"]
# Number of training documents of each source.
DOCUMENTS = {"a": 30, "a-b": 12, "c": 1}


@pytest.fixture
def base(tmp_path):
    """A folder with the files of a base model that `tokenize` reads."""
    folder = tmp_path / "base"
    folder.mkdir()
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(WORDS, vocab_size=300, special_tokens=["<|end|>"])
    bpe.save(str(folder / "tokenizer.json"))
    tiny_facts().write(folder)
    write_manifest(folder)
    return folder


def write_clean(folder, kind):
    """Write splits of three sources, as `prepare` sorts them."""
    folder.mkdir()
    for split in ("train", "validation", "test"):
        rows = []
        for name in sorted(DOCUMENTS, key=lambda name: f"{name}/"):
            for number in range(DOCUMENTS[name]):
                said = " ".join(np.roll(WORDS, number)[: 2 + number % 5])
                example = Completion(said, f" {name} {number}").to_json()
                rows.append(
                    {
                        "id": f"{name}/{split}-{number:09d}",
                        "group": "",
                        kind: example if kind == "example" else f"{name} {said}",
                        "source": name,
                    }
                )
        pl.DataFrame(rows).write_parquet(folder / f"{split}.parquet")
    write_manifest(folder)


@pytest.fixture
def tokenize(tmp_path, base, monkeypatch):
    """Return a function that tokenizes documents of a kind by some settings."""
    monkeypatch.setattr(split_tokens, "DOCUMENTS_PER_BATCH", 5)

    def of(kind, **settings):
        clean = tmp_path / "clean"
        write_clean(clean, kind)
        paths = clean, base, tmp_path / "tokens", tmp_path / "metrics.json"
        return run(TokenizeSettings(**settings), *paths), paths[2], paths[3]

    return of


@pytest.mark.parametrize("kind", ["text", "example"])
@pytest.mark.parametrize("packing", ["wrap", "best_fit", "none"])
def test_a_training_block_holds_one_source(tokenize, kind, packing):
    _, tokens, _ = tokenize(kind, packing=packing)
    index = TokensIndex.read(tokens)
    names = ["a-b", "a", "c"]
    assert [source.name for source in index.sources] == names
    assert {s.name: s.documents for s in index.sources} == DOCUMENTS
    assert sum(s.blocks for s in index.sources) == index.splits["train"].blocks
    owners = np.repeat(names, [source.sequences for source in index.sources])
    assert len(owners) == len(StoredSequences(tokens, "train"))
    blocks, first = PackedBlocks(tokens, "train"), 0
    for source in index.sources:
        numbers = np.arange(first, first + source.blocks)
        if source.blocks:
            held = owners[blocks.sequences_of(numbers)]
            assert set(held) == {source.name}
            assert blocks.num_labels(numbers) == source.trained_tokens
        first += source.blocks
    assert first == len(blocks)


def test_validation_is_packed_over_all_sources(tokenize):
    _, tokens, _ = tokenize("example")
    blocks = PackedBlocks(tokens, "validation")
    sequences = [
        blocks.sequences_of(np.array([number])) for number in range(len(blocks))
    ]
    owners = np.repeat(["a-b", "a", "c"], [12, 30, 1])
    assert max(len(Counter(owners[held])) for held in sequences) > 1


def test_the_blocks_of_each_source_are_told(tokenize, caplog):
    line, tokens, metrics = tokenize("text")
    index = TokensIndex.read(tokens)
    assert TokenMetrics.read(metrics).sources == index.sources
    by_name = {source.name: source.blocks for source in index.sources}
    told = f"blocks of each source: a-b {by_name['a-b']}, a {by_name['a']}, c 0"
    assert told in line
    # One text of a few tokens fills no block of the model's context.
    assert (
        "dataset.sources.c: no block of 32 tokens comes of its 1 training sequence, so"
        " training reads nothing of it" in caplog.messages
    )
