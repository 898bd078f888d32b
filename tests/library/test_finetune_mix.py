"""Real DeepSpeed ranks read several sources as `finetune.mix` says."""

import polars as pl
import pytest

from retune.artifacts.publishing import write_manifest
from retune.artifacts.tokens_index import TokensIndex
from retune.errors import RetuneError
from retune.settings import FinetuneSettings, TokenizeSettings
from retune.steps import finetune, tokenize
from retune.tokens.blocks import PackedBlocks
from retune.tokens.mixed_order import mixed_blocks_of_step
from retune.tokens.mixture import Mixture, SourcePlaces
from tiny_run import TinyRun, make_base, make_texts

MIX = {"small": 1.5, "large": 0.25}
SETTINGS = {"mix": MIX, "learning_rate": 1e-3, "epochs": 2, "eval_steps": 50}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of two sources, of very different texts."""
    run = TinyRun(tmp_path_factory.mktemp("run"))
    make_base(run.folder / "base", resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0)
    clean = run.folder / "clean"
    clean.mkdir()
    texts = {
        "large": make_texts(60),
        "small": ["aaa bbb " * (2 + i % 3) for i in range(20)],
    }
    for split in ("train", "validation", "test"):
        pl.DataFrame(
            [
                {"id": f"{name}/{number:04}", "text": text, "source": name}
                for name, of_source in texts.items()
                for number, text in enumerate(of_source)
            ]
        ).write_parquet(clean / f"{split}.parquet")
    write_manifest(clean)
    paths = (
        clean,
        run.folder / "base",
        run.folder / "tokens",
        run.folder / "tokens.json",
    )
    tokenize.run(TokenizeSettings(), *paths)
    return run


@pytest.fixture(scope="module")
def plan(run):
    return run.plan("plan", global_batch_size=8)


@pytest.fixture(scope="module")
def tuned(run, plan):
    return run.finetune(plan, "mixed", **SETTINGS)


def test_what_an_epoch_reads_is_told():
    sources = (SourcePlaces("small", 0, 10, 1500), SourcePlaces("large", 10, 8, 2))
    told = finetune.mixture_in_words(Mixture(18, sources))
    assert told == "; blocks of each source in an epoch: small 1,500, large 2"
    assert finetune.mixture_in_words(Mixture(18)) == ""


def test_an_epoch_is_as_long_as_its_sources_are_read(run, tuned):
    blocks = {s.name: s.blocks for s in TokensIndex.read(run.folder / "tokens").sources}
    places = sum(round(MIX[name] * blocks[name]) for name in blocks)
    history = pl.read_csv(tuned.folder / "history.csv")
    assert len(history) == 2 * places // 8
    assert history["epoch"].to_list()[-1] == pytest.approx(2, abs=8 / places)


def test_each_step_reads_the_blocks_of_the_order(run, tuned):
    tokens = run.folder / "tokens"
    mixture = Mixture.of(TokensIndex.read(tokens), FinetuneSettings(mix=MIX).mix)
    training = PackedBlocks(tokens, "train")
    history = pl.read_csv(tuned.folder / "history.csv")
    labels = [
        training.num_labels(mixed_blocks_of_step(mixture, step, 8, seed=0))
        for step in range(len(history))
    ]
    assert history["num_labels"].to_list() == labels


def test_the_mixture_is_the_same_on_other_ranks(run, tuned):
    plan = run.plan("alone", 1, global_batch_size=8, micro_batch_size=4)
    alone = run.finetune(plan, "alone-tuned", **SETTINGS)
    assert alone.losses == pytest.approx(tuned.losses, abs=2e-5)


def test_a_weight_of_an_unknown_source_stops_the_step(run, plan):
    with pytest.raises(RetuneError, match=r"finetune\.mix\.other: .* large, small"):
        run.finetune(plan, "unknown", mix={"other": 2})
