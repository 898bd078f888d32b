"""The step `tokenize` on examples: what is not trained is counted and told."""

import polars as pl
import pytest
from tokenizers import ByteLevelBPETokenizer

from retune.artifacts.publishing import write_manifest
from retune.artifacts.tokens_index import TokenMetrics
from retune.chat.template import FILE
from retune.errors import RetuneError
from retune.examples.example import Completion, Conversation
from retune.settings import TokenizeSettings
from retune.steps.tokenize import run
from retune.tokens import split_tokens
from tiny_facts import tiny_facts

# Asks for a thought that the answers of the data do not have.
OPENS_A_THOUGHT = (
    "{% for m in messages %}{{ m.role }}: {{ m.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}assistant: <think>{% endif %}"
)
SPLITS = ("train", "validation", "test")


@pytest.fixture
def base(tmp_path):
    """A folder with the files of a base model that `tokenize` reads."""
    folder = tmp_path / "base"
    folder.mkdir()
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(["red green"], 300, special_tokens=["<|end|>"])
    bpe.save(str(folder / "tokenizer.json"))
    tiny_facts(bos_token_id=0, eos_token_id=0, end_token_ids=[0]).write(folder)
    (folder / FILE).write_text(OPENS_A_THOUGHT)
    write_manifest(folder)
    return folder


@pytest.fixture
def tokenize(tmp_path, base, monkeypatch):
    """Return a function that tokenizes the same examples for every split."""
    monkeypatch.setattr(split_tokens, "DOCUMENTS_PER_BATCH", 2)

    def of(examples, **settings):
        clean = tmp_path / "clean"
        clean.mkdir()
        lines = [example.to_json() for example in examples]
        names = [f"row-{number}" for number in range(len(lines))]
        for split in SPLITS:
            table = pl.DataFrame({"id": names, "example": lines})
            table.write_parquet(clean / f"{split}.parquet")
        write_manifest(clean)
        paths = clean, base, tmp_path / "tokens", tmp_path / "metrics.json"
        line = run(TokenizeSettings(**settings), *paths)
        return line, TokenMetrics.read(paths[-1]).splits["train"]

    return of


def chat(*answers):
    messages = []
    for answer in answers:
        messages.append({"role": "user", "content": "red?"})
        messages.append({"role": "assistant", "content": answer, "train": True})
    return Conversation(tuple(messages))


def test_answers_that_begin_otherwise_than_their_prompt_are_counted(tokenize, caplog):
    _, numbers = tokenize([chat("green"), chat("red", "green"), Completion("a", "b")])
    assert numbers.sequences == 3
    assert numbers.other_beginnings == 2
    assert (
        "in 6 sequences the chat template begins an answer otherwise than the prompt"
        " for it says; what both begin with is not trained" in caplog.messages
    )


def test_blocks_with_nothing_to_learn_are_counted_and_told(tokenize):
    examples = [Completion("?" * 23, "!" * 8)]
    line, numbers = tokenize(examples, packing="wrap", sequence_length=8)
    assert (numbers.tokens, numbers.blocks, numbers.left_out_blocks) == (33, 1, 3)
    assert "3 blocks left out: nothing to learn" in line


def test_a_split_with_nothing_to_learn_is_refused(tokenize):
    message = (
        r"^tokenize\.sequence_length: 8, but nothing is trained in train's 2 whole"
        r" blocks: write tokenize\.packing: best_fit, or another length$"
    )
    with pytest.raises(RetuneError, match=message):
        tokenize([Completion("?" * 15, "!")], packing="wrap", sequence_length=8)
