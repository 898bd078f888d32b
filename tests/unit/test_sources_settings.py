"""Several sources in the section dataset, and the weights of finetune.mix."""

import pytest

from retune.errors import RetuneError
from retune.settings.finetune import RowsPerEpoch
from retune.settings.params import read_params

TWO = {"sources": {"mine": "a.jsonl", "python": "builtin"}}


def read(dataset=TWO, mix=None):
    """Return the checked settings."""
    finetune = {"mix": mix} if mix is not None else {}
    return read_params({"dataset": dataset, "model": "builtin", "finetune": finetune})


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("a.jsonl", {"source": "local", "files": {"train": ["a.jsonl"]}}),
        (["a.csv", "b/"], {"source": "local", "files": {"train": ["a.csv", "b/"]}}),
        ({"files": "b/"}, {"source": "local", "files": {"train": ["b/"]}}),
        ("builtin-chat", {"source": "builtin", "format": "messages"}),
        (
            {"source": "hub", "name": "a/b", "revision": "0" * 40, "fold_system": True},
            {"source": "hub", "name": "a/b", "revision": "0" * 40, "fold_system": True},
        ),
    ],
)
def test_a_source_is_written_like_a_dataset(written, meant):
    dataset = read({"sources": {"one-1_A": written}}).dataset
    assert dataset.source == "several"
    assert dataset.sources["one-1_A"].model_dump(exclude_defaults=True) == meant


@pytest.mark.parametrize(
    ("dataset", "problem"),
    [
        ({**TWO, "format": "text"}, "dataset: format does not go with sources: write"),
        ({**TWO, "files": "a.txt"}, "dataset: files does not go with sources: write"),
        ({**TWO, "source": "builtin"}, "dataset: sources go without source: builtin"),
        ({"source": "several"}, "dataset: source: several needs sources, a dataset"),
        ({"sources": {}}, "dataset: source: several needs sources, a dataset under"),
        ({"sources": ["a.txt"]}, "dataset.sources: ['a.txt'] should be a mapping"),
        ({"sources": {"a/b": "a.txt"}}, "dataset.sources: 'a/b' should be a name of"),
        ({"sources": {"": "a.txt"}}, "dataset.sources: '' should be a name of letters"),
        ({"sources": {"a": "wiki"}}, "dataset.sources.a: 'wiki' is no known short"),
        (
            {"sources": {"a": {"source": "several"}}},
            "dataset.sources.a: source: sev",
        ),
        ({"sources": {"a": TWO}}, "dataset.sources.a.sources: unknown key"),
        (
            {"sources": {"a": {"source": "builtin", "fold_system": True}}},
            "dataset.sources.a: fold_system does not go with source: builtin",
        ),
        (
            {"sources": {"a": {"source": "builtin", "formt": "messages"}}},
            "dataset.sources.a.formt: unknown key; did you mean format?",
        ),
        (
            {"sources": {"a": {"files": {"trian": "a.txt"}}}},
            "dataset.sources.a.files.trian: unknown key; did you mean train?",
        ),
    ],
)
def test_wrong_sources_are_named(dataset, problem):
    with pytest.raises(RetuneError) as caught:
        read(dataset)
    assert f"  {problem}" in str(caught.value)


def test_a_weight_is_a_number_or_a_number_of_rows():
    mix = read(mix={"mine": 2, "python": {"rows": 50}}).finetune.mix
    assert mix == {"mine": 2.0, "python": RowsPerEpoch(rows=50)}


@pytest.mark.parametrize(
    ("dataset", "mix", "problem"),
    [
        (TWO, {"mine": -1}, "finetune.mix.mine: -1 should be a number from 0, how"),
        (TWO, {"mine": True}, "finetune.mix.mine: True should be a number from 0"),
        (TWO, {"mine": ".5"}, "finetune.mix.mine: '.5' should be a number from 0"),
        (TWO, {"mine": {"rows": 0}}, "finetune.mix.mine: {'rows': 0} should be a nu"),
        (TWO, {"mine": {"row": 5}}, "finetune.mix.mine: {'row': 5} should be a numb"),
        (TWO, {"mime": 1}, "finetune.mix.mime: there is no dataset.sources.mime; th"),
        (TWO, {"mine": 0, "python": 0}, "finetune.mix.mine: all sources have weight"),
        ("builtin", {"mine": 1}, "finetune.mix.mine: dataset has no sources; name e"),
        (TWO, [1], "finetune.mix: [1] should be"),
    ],
)
def test_wrong_weights_are_named(dataset, mix, problem):
    with pytest.raises(RetuneError) as caught:
        read(dataset, mix)
    assert f"  {problem}" in str(caught.value)


def test_a_source_of_weight_0_beside_others_is_left_out():
    assert read(mix={"mine": 0}).finetune.mix == {"mine": 0}
