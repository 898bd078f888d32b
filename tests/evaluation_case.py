"""Tiny models and documents on which `baseline` and `evaluate` run."""

import json
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from retune.artifacts.model_facts import FILE as FACTS
from retune.artifacts.model_facts import ModelFacts
from retune.artifacts.publishing import (
    FILES,
    SEAL,
    read_json,
    write_manifest,
    write_sealed,
)
from retune.examples.example import COLUMN as EXAMPLE
from retune.examples.example import (
    Completion,
    Conversation,
    Example,
    Message,
)
from retune.settings import (
    SPLITS,
    Dtype,
    EvaluateSettings,
    PrecisionSettings,
    SampleSettings,
)
from retune.steps import baseline, evaluate, sample
from retune.steps.tokenize import write_split
from retune.tokens.example_encoder import ExampleEncoder
from retune.tokens.store import write_counts
from retune.tokens.tokenizer import ModelTokenizer
from tiny_models import SENTENCES, build_tiny_model, write_splits
from token_files import make_index

SETTINGS = EvaluateSettings(bootstrap_draws=200)
SAMPLE_SETTINGS = SampleSettings(prompts=["Return the", ""], max_new_tokens=6)
SAMPLES = "results/sample/samples.json"
TEST_TEXTS = [
    "Return an empty list.",
    "  The module writes the number of items – naïve.",
    SENTENCES[1] * 3,
]

# What an assistant thought is shown of the last turn only, so that conversations with
# thoughts are several sequences.
CHAT_TEMPLATE = (
    "{% for m in messages %}<{{ m.role }}>"
    "{% if loop.last and m.reasoning_content %}({{ m.reasoning_content }}){% endif %}"
    "{{ m.content }}<|endoftext|>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def say(role: str, content: str, **more: str) -> Message:
    """Return a message; the assistant's are trained."""
    trained = {"train": True} if role == "assistant" else {}
    return Message(role=role, content=content, **trained, **more)


SHORT = Conversation((say("user", "Is it a list?"), say("assistant", "No.")))
TWO_TURNS = Conversation(
    (
        say("system", "Be brief."),
        say("user", "Read the file."),
        say("assistant", "The file is read – naïve."),
        say("user", "And now?"),
        say("assistant", "Write it."),
    )
)
THOUGHTS = Conversation(
    (
        say("user", "One?"),
        say("assistant", "Yes.", reasoning_content="an item"),
        say("user", "Two?"),
        say("assistant", "No.", reasoning_content="the list"),
    )
)
# Longer than a window, its answer too.
LONG = Conversation(
    (say("user", " ".join(SENTENCES)), say("assistant", " ".join(SENTENCES[:2])))
)
COMPLETION = Completion("Return the number of", " items in the list.")
TEST_EXAMPLES = [SHORT, TWO_TURNS, THOUGHTS, LONG, COMPLETION]
EXAMPLE_CONTEXT = 64


def sharpen(model) -> None:
    """Make a model that differs from the base: its last layer speaks louder."""
    model.transformer.ln_f.weight.mul_(0.3)


def make_inputs(root: Path) -> None:
    """Make what both steps read, and the baseline's results."""
    build_tiny_model(root / "models/base")
    build_tiny_model(root / "models/consolidated", change=sharpen)
    (root / "models/consolidated" / FACTS).unlink()
    write_splits(
        root / "data/clean", train=SENTENCES, validation=SENTENCES[2:], test=TEST_TEXTS
    )
    make_tokens(root)
    run_baseline(root)


def make_example_inputs(
    root: Path,
    context: int = EXAMPLE_CONTEXT,
    test: Sequence[Example] = TEST_EXAMPLES,
) -> None:
    """Make what both steps read of data with answers, and the baseline's results."""
    for model, change in (("base", None), ("consolidated", sharpen)):
        folder = root / "models" / model
        build_tiny_model(folder, context=context, change=change)
        (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE)
    (root / "models/consolidated" / FACTS).unlink()
    write_example_splits(
        root / "data/clean", train=test, validation=test[:2], test=test
    )
    make_tokens(root)
    run_baseline(root)


def write_example_splits(folder: Path, **splits: Sequence[Example]) -> None:
    """Write one parquet file per split with the columns id, group and example."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, examples in splits.items():
        ids = [f"{split}-{number}" for number in range(len(examples))]
        lines = [example.to_json() for example in examples]
        columns = {"id": ids, "group": ids, EXAMPLE: lines}
        table = pa.table({k: pa.array(v, pa.string()) for k, v in columns.items()})
        pq.write_table(table, folder / f"{split}.parquet")


def make_tokens(root: Path) -> None:
    """Write what `evaluate` reads of `tokenize`, which refuses so few tokens."""
    base, tokens = root / "models/base", root / "data/tokens"
    tokens.mkdir(exist_ok=True)
    facts = ModelFacts.read(base)
    tokenizer = ModelTokenizer.of(base, facts)
    encoder = ExampleEncoder(base, facts, tokenizer)
    counts = {
        split: write_split(
            root / f"data/clean/{split}.parquet",
            *(tokens, split, tokenizer, encoder, facts),
        )
        for split in SPLITS
    }
    has_answers = EXAMPLE in pq.read_schema(root / "data/clean/test.parquet").names
    index = make_index(counts["train"].tokens, has_answers=has_answers)
    index.write(tokens)
    write_counts(tokens, index)


def run_baseline(root: Path, settings: EvaluateSettings = SETTINGS) -> str:
    seal_folders(root)
    return baseline.run(
        settings,
        "cpu",
        "1",
        base=root / "models/base",
        clean=root / "data/clean",
        documents=root / "results/baseline/documents.parquet",
        metrics=root / "metrics/baseline.json",
    )


def run_evaluate(root: Path, settings: EvaluateSettings = SETTINGS) -> str:
    seal_folders(root)
    metrics = read_json(root / "metrics/baseline.json")
    values = {k: v for k, v in metrics.items() if k not in (FILES, SEAL)}
    documents = root / "results/baseline/documents.parquet"
    write_sealed(root / "metrics/baseline.json", values, [documents])
    return evaluate.run(
        settings,
        "cpu",
        "1",
        consolidated=root / "models/consolidated",
        base=root / "models/base",
        clean=root / "data/clean",
        tokens=root / "data/tokens",
        baseline_documents=root / "results/baseline/documents.parquet",
        baseline_metrics=root / "metrics/baseline.json",
        documents=root / "results/evaluate/documents.parquet",
        metrics=root / "metrics/evaluation.json",
    )


def run_sample(
    root: Path, settings: SampleSettings = SAMPLE_SETTINGS, dtype: Dtype = "auto"
) -> str:
    seal_folders(root)
    return sample.run(
        settings,
        PrecisionSettings(dtype=dtype),
        "cpu",
        "auto",
        consolidated=root / "models/consolidated",
        base=root / "models/base",
        clean=root / "data/clean",
        samples=root / SAMPLES,
    )


def seal_folders(root: Path) -> None:
    """Leave folders as their steps do, whatever a test has changed in them."""
    for folder in root.glob("*/*"):
        if folder.parent.name in ("models", "data"):
            write_manifest(folder)


def strict_json(path: Path):
    """Read JSON as its standard has it, without NaN and Infinity."""

    def refuse(constant: str):
        raise AssertionError(f"{constant} in {path}")

    return json.loads(path.read_text(), parse_constant=refuse)
