"""Small raw data, and what `prepare` makes of it, for its tests."""

import json

import polars as pl

from retune.artifacts.publishing import write_manifest
from retune.examples.example import Conversation
from retune.settings import PrepareSettings
from retune.steps import prepare

SPLITS = ("train", "validation", "test")


def text(number):
    """A valid text that shares no three words with that of another number."""
    return f"word{number}a word{number}b\nword{number}c word{number}d"


def rows(numbers, prefix="d"):
    return [
        {"id": f"{prefix}{n:04}", "group": f"{prefix}{n % 50}", "text": text(n)}
        for n in numbers
    ]


def asked(question, answer, **more):
    """A message of the user, and the assistant's trained one, as an example."""
    return Conversation(
        (
            {"role": "user", "content": question},
            {"role": "assistant", "content": answer, "train": True} | more,
        )
    )


def row(name, example, group=None):
    """A row with an example."""
    return {"id": name, "group": group or name, "example": example.to_json()}


def examples(numbers, prefix="e"):
    """Rows with examples that share no two words with that of another number."""
    return [
        row(f"{prefix}{n:04}", asked(f"What is word{n}a?", f"It is word{n}b."))
        for n in numbers
    ]


class Case:
    """Raw data in a temporary folder, and what `prepare` makes of it."""

    def __init__(self, folder):
        self.raw, self.clean = folder / "raw", folder / "clean"
        self.metrics = folder / "metrics/data.json"
        self.raw.mkdir(parents=True)

    def write(self, **splits):
        for name, values in splits.items():
            kind = "example" if values and "example" in values[0] else "text"
            schema = dict.fromkeys(("id", "group", kind), pl.String)
            frame = pl.DataFrame(values, schema, orient="row")
            frame.write_parquet(self.raw / f"{name}.parquet")

    def run(self, **settings):
        # Shares that give each split several of the few groups here.
        shares = {"validation_share": 0.2, "test_share": 0.2}
        checked = PrepareSettings(**shares | settings)
        write_manifest(self.raw)
        return prepare.run(checked, self.raw, self.clean, self.metrics)

    def read(self, name):
        return pl.read_parquet(self.clean / f"{name}.parquet")

    def ids(self, name):
        return self.read(name)["id"].to_list()

    @property
    def figures(self):
        return json.loads(self.metrics.read_text())
