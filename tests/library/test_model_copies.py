"""An evaluation that several processes share."""

import multiprocessing
import subprocess
import sys
import time
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from shutil import copytree

import numpy as np
import pytest
import torch
from accelerate import dispatch_model
from safetensors.torch import load_file, save_file

import work_for_copies
from retune.artifacts.model_facts import ModelFacts
from retune.errors import RetuneError
from retune.evaluation import language_model
from retune.evaluation.document_tokens import scored_text
from retune.evaluation.exact_match import measure_exact_match
from retune.evaluation.language_model import LanguageModel, LoadedModel, load_model
from retune.evaluation.model_copies import opened, serve
from retune.evaluation.perplexity import resolve_protocol, score_tokens
from retune.evaluation.placement import Placement
from retune.examples.example import Completion
from retune.settings import EvaluateSettings
from tiny_models import SENTENCES, build_tiny_model
from work_for_copies import TWO, be_killed, meet, refuse_the_second

SETTINGS = EvaluateSettings(context_length=16, stride=5, batch_size=2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return build_tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def one_thread():
    """Compute with as many threads as each copy does."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


# Where the parts of a tiny model are, one of them on the disk.
PARTS = {
    "transformer.wte": "cpu",
    "transformer.wpe": "cpu",
    "transformer.h.0": "cpu",
    "transformer.h.1": "disk",
    "transformer.ln_f": "cpu",
    "lm_head": "cpu",
}
TEXTS = [" ".join(pair) for pair in product(SENTENCES, repeat=2)]


def score(model: LanguageModel, texts: Sequence[str] = TEXTS) -> np.ndarray:
    documents = [
        [scored_text(ids, model.facts)]
        for ids in model.tokenizer.encode_texts(texts).split()
    ]
    protocol = resolve_protocol(SETTINGS, model)
    return score_tokens("baseline", model, documents, protocol, SETTINGS.batch_size)


def match(model: LanguageModel):
    examples = [Completion(text[:9], text[9:20]) for text in SENTENCES]
    return measure_exact_match("baseline", model, examples, SETTINGS)


def open_two(folder: Path):
    return opened(folder, ModelFacts.read(folder), TWO)


def test_two_processes_score_bit_for_bit_what_one_does(folder, tmp_path, one_thread):
    alone = load_model(folder, ModelFacts.read(folder))
    with open_two(folder) as both:
        # Both are there; from now on both get batches.
        assert len({number for _, number in both.each(meet, [tmp_path] * 2)}) == 2
        assert np.array_equal(score(both), score(alone))
        assert match(both) == match(alone)
        assert both.dtype == alone.dtype == "float32"
        assert both.device == alone.device == "cpu"
        # An error in one of them is the error of the step.
        with pytest.raises(RetuneError, match="^batch 1 is refused$"):
            list(both.each(refuse_the_second, range(9)))
    assert not multiprocessing.active_children()


def test_the_order_in_which_batches_end_changes_nothing(folder):
    class Backwards(LoadedModel):
        """The same model, whose last batch ends first."""

        def each(self, work, batches):
            return reversed(list(super().each(work, batches)))

    model = load_model(folder, ModelFacts.read(folder))
    assert np.array_equal(score(Backwards(**vars(model))), score(model))


def test_a_process_that_is_killed_ends_the_others_and_is_named(folder):
    killed = pytest.raises(RetuneError, match=r"on the CPU was killed by SIGKILL .*mem")
    with killed, open_two(folder) as copies:
        # No more processes are started than there are batches.
        assert list(copies.each(refuse_the_second, [0])) == [(0, 0)]
        assert len(multiprocessing.active_children()) == 1
        assert list(copies.each(refuse_the_second, [])) == []
        list(copies.each(be_killed, [0, 0]))
    assert not multiprocessing.active_children()


def test_copies_end_with_the_process_that_has_started_them(folder, tmp_path):
    done = subprocess.run(
        [sys.executable, work_for_copies.__file__, folder, tmp_path],
        stdout=subprocess.PIPE,
        check=False,
        text=True,
    )
    numbers = done.stdout.split()
    assert len(numbers) == 2
    deadline = time.monotonic() + 30
    while any(Path(f"/proc/{number}").exists() for number in numbers):
        assert time.monotonic() < deadline, "a copy outlived its step"
        time.sleep(0.1)


def test_an_error_that_nobody_hears_any_more_leaves_no_traceback(folder, tmp_path):
    broken = copytree(folder, tmp_path / "broken")
    weights = load_file(broken / "model.safetensors")
    del weights["transformer.h.0.ln_1.weight"]
    save_file(weights, broken / "model.safetensors", {"format": "pt"})
    facts = ModelFacts.read(folder)
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs, broken, facts, TWO[0], 1))
    process.start()
    theirs.close()
    ours.close()
    process.join()
    assert process.exitcode == 0


def test_a_model_that_is_partly_on_the_disk_is_refused(folder, tmp_path, monkeypatch):
    options = {"device_map": PARTS, "offload_folder": str(tmp_path)}
    monkeypatch.setattr(language_model, "device_map", lambda gpus: options)
    with pytest.raises(RetuneError, match="layers do not all fit GPUs 0, 1: "):
        load_model(folder, ModelFacts.read(folder), Placement("float32", (0, 1)))


def test_a_model_in_parts_scores_the_same(folder, tmp_path, one_thread):
    whole, parts = (load_model(folder, ModelFacts.read(folder)) for _ in range(2))
    # Between parts accelerate hands on what one computes to the device of the next.
    # Without GPUs one part is read from the disk each time.
    dispatch_model(parts.model, PARTS, main_device="cpu", offload_dir=tmp_path)
    assert {p.device.type for p in parts.model.parameters()} == {"cpu", "meta"}
    assert np.array_equal(score(parts), score(whole))
    assert match(parts) == match(whole)


def test_logits_that_float16_cannot_hold_are_told(tmp_path):
    def enlarge(model):
        model.transformer.ln_f.weight *= 1e5

    large = build_tiny_model(tmp_path, change=enlarge)
    facts = ModelFacts.read(large)
    assert np.isfinite(score(load_model(large, facts), SENTENCES)).all()
    with pytest.raises(RetuneError, match="float16 holds: evaluate.dtype: bfloat16$"):
        score(load_model(large, facts, Placement("float16")), SENTENCES)


def test_bf16_scores_are_near_those_of_fp32(folder):
    facts = ModelFacts.read(folder)
    model = load_model(folder, facts, Placement("bfloat16"))
    assert {weight.dtype for weight in model.model.parameters()} == {torch.bfloat16}
    assert resolve_protocol(SETTINGS, model).dtype == "bfloat16"
    exact = score(load_model(folder, facts), SENTENCES)
    rounded = score(model, SENTENCES)
    assert not np.array_equal(rounded, exact)
    assert rounded == pytest.approx(exact, rel=0.02)
