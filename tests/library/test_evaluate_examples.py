"""The steps `baseline` and `evaluate` on data with answers: only these are scored."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from evaluation_case import (
    CHAT_TEMPLATE,
    COMPLETION,
    EXAMPLE_CONTEXT,
    LONG,
    SETTINGS,
    SHORT,
    TEST_EXAMPLES,
    THOUGHTS,
    TWO_TURNS,
    make_tokens,
    run_baseline,
    run_evaluate,
    say,
    strict_json,
    write_example_splits,
)
from retune.artifacts.model_facts import ModelFacts
from retune.artifacts.publishing import read_json, sha256
from retune.errors import RetuneError
from retune.evaluation import exact_match
from retune.evaluation.exact_match import evenly_chosen, measure_exact_match
from retune.evaluation.language_model import load_model
from retune.evaluation.perplexity import plan_windows
from retune.evaluation.samples import GREEDY, generate
from retune.examples.example import Completion, Conversation, Example
from retune.tokens.tokenizer import ModelTokenizer
from tiny_models import SENTENCES

NAMES = ["short", "two turns", "thoughts", "long", "completion"]
END = "<|endoftext|>"


def pieces_of(example: Example) -> list[list[tuple[str, bool]]]:
    """Return the texts of each sequence, and whether they are trained, by hand."""
    if isinstance(example, Conversation) and example != THOUGHTS:
        pieces = []
        for message in example.messages:
            pieces += [(f"<{message['role']}>", False)]
            pieces += [(message["content"] + END, message.get("train", False))]
        return [pieces]
    if example == THOUGHTS:
        first = [("<user>One?" + END, False), ("<assistant>", False)]
        before = [("<user>One?" + END + "<assistant>Yes." + END, False)]
        return [
            [*first, ("(an item)Yes." + END, True)],
            [*before, ("<user>Two?" + END, False), ("<assistant>", False)]
            + [("(the list)No." + END, True)],
        ]
    return [[(END + example.prompt, False), (example.completion + END, True)]]


def tokens_of(folder: Path, pieces: list[tuple[str, bool]]):
    """Return the tokens of a text, and which of them lie in a trained piece."""
    auto = AutoTokenizer.from_pretrained(folder)
    text = "".join(piece for piece, _ in pieces)
    trained_characters = [is_in for piece, is_in in pieces for _ in piece]
    encoding = auto(text, return_offsets_mapping=True, add_special_tokens=False)
    # Byte-level tokens of one character share its place.
    trained = [
        all(trained_characters[start:end]) and end > start
        for start, end in encoding["offset_mapping"]
    ]
    return encoding["input_ids"], trained


def nll_by_hand(folder: Path, example: Example, length: int = EXAMPLE_CONTEXT):
    """Score an example token by token; return its nll, nats, and its trained tokens."""
    model = AutoModelForCausalLM.from_pretrained(folder).double()
    nll, count = 0.0, 0
    for pieces in pieces_of(example):
        ids, trained = tokens_of(folder, pieces)
        last = max(place for place, is_trained in enumerate(trained) if is_trained)
        for window in plan_windows(last, length, length):
            with torch.inference_mode():
                inputs = torch.tensor([ids[window.start : window.end]])
                log_p = model(inputs).logits[0].log_softmax(-1)
            for place in range(window.end - window.scored, window.end):
                if trained[place + 1]:
                    nll -= log_p[place - window.start, ids[place + 1]].item()
                    count += 1
    return nll, count


@pytest.mark.parametrize("example", TEST_EXAMPLES, ids=NAMES)
def test_only_the_answer_is_scored_as_plain_torch_does_it(example_inputs, example):
    table = pq.read_table(example_inputs / "results/baseline/documents.parquet")
    row = table.slice(2 + TEST_EXAMPLES.index(example), 1).to_pylist()[0]
    nll, count = nll_by_hand(example_inputs / "models/base", example)
    assert row["nll"] == pytest.approx(nll, rel=1e-5)
    assert row["tokens"] == count
    assert row["bytes"] == len(example.answer.encode())


def test_the_long_example_has_several_windows_and_thoughts_several_sequences():
    assert len(pieces_of(THOUGHTS)) == 2
    assert len(LONG.question) > 2 * EXAMPLE_CONTEXT


@pytest.mark.parametrize("context_length", [8, 16])
def test_short_windows_score_every_trained_token_once(example_folder, context_length):
    changed = {"context_length": context_length, "exact_match_examples": 0}
    run_baseline(example_folder, SETTINGS.model_copy(update=changed))
    table = pq.read_table(example_folder / "results/baseline/documents.parquet")
    rows = table.slice(2).to_pylist()
    for row, example in zip(rows, TEST_EXAMPLES, strict=True):
        folder = example_folder / "models/base"
        nll, count = nll_by_hand(folder, example, context_length)
        assert (row["nll"], row["tokens"]) == (pytest.approx(nll, rel=1e-5), count)


def test_the_batch_size_changes_nothing(example_folder):
    path = example_folder / "results/baseline/documents.parquet"
    before = pq.read_table(path)["nll"].to_numpy()
    run_baseline(example_folder, SETTINGS.model_copy(update={"batch_size": 2}))
    assert pq.read_table(path)["nll"].to_numpy() == pytest.approx(before, rel=1e-6)


def test_windows_without_an_answer_are_not_computed(example_folder, monkeypatch):
    seen = []
    forward = torch.nn.Embedding.forward

    def count(self, ids):
        seen.append(ids.numel())
        return forward(self, ids)

    monkeypatch.setattr(torch.nn.Embedding, "forward", count)
    # The question alone is several windows long.
    ask = Conversation((say("user", LONG.question * 3), say("assistant", "No.")))
    write_example_splits(example_folder / "data/clean", validation=[], test=[ask])
    changed = {"exact_match_examples": 0}
    run_baseline(example_folder, SETTINGS.model_copy(update=changed))
    # One window, whose tokens and whose places are looked up.
    assert len(seen) == 2
    assert max(seen) <= EXAMPLE_CONTEXT


def test_evaluate_compares_both_models_on_the_answers(example_folder):
    assert run_baseline(example_folder).startswith("bits per byte of answers ")
    line = run_evaluate(example_folder)
    metrics = strict_json(example_folder / "metrics/evaluation.json")
    before = read_json(example_folder / "metrics/baseline.json")
    test = metrics["test"]
    assert test["base"] == before["test"]
    assert test["bits_per_byte_change"] < -1
    answers = sum(len(example.answer.encode()) for example in TEST_EXAMPLES)
    assert test["tuned"]["bytes"] == answers
    bits = test["tuned"]["nll"] / math.log(2)
    assert test["tuned"]["bits_per_byte"] == pytest.approx(bits / answers)
    assert test["tuned"]["bits_per_document"] == pytest.approx(bits / 5)
    assert line.startswith("bits per byte of answers ")
    assert "; exactly right: 0 -> 0 of " in line


def test_the_protocol_names_the_chat_template(example_folder):
    template = example_folder / "models/base/chat_template.jinja"
    protocol = read_json(example_folder / "metrics/baseline.json")["protocol"]
    assert protocol["chat_template_sha256"] == sha256(template)
    assert protocol["prefix"] is None


def test_completions_need_no_chat_template(example_folder):
    for model in ("base", "consolidated"):
        (example_folder / "models" / model / "chat_template.jinja").unlink()
    completions = {split: [COMPLETION] for split in ("train", "validation", "test")}
    write_example_splits(example_folder / "data/clean", **completions)
    make_tokens(example_folder)
    run_baseline(example_folder)
    run_evaluate(example_folder)
    protocol = read_json(example_folder / "metrics/evaluation.json")["protocol"]
    assert protocol["chat_template_sha256"] is None
    assert protocol["prefix"] == END


def test_the_floors_are_those_of_the_trained_tokens(example_folder):
    run_evaluate(example_folder)
    test = read_json(example_folder / "metrics/evaluation.json")["test"]
    counts = np.load(example_folder / "data/tokens/train.counts.npy").tolist()
    bits, tokens = 0.0, 0
    for example in TEST_EXAMPLES:
        for pieces in pieces_of(example):
            ids, trained = tokens_of(example_folder / "models/base", pieces)
            for token, is_trained in zip(ids, trained, strict=True):
                if is_trained:
                    tokens += 1
                    bits -= math.log2((counts[token] + 1) / (sum(counts) + len(counts)))
    num_bytes = test["tuned"]["bytes"]
    assert test["floors"]["unigram_bits_per_byte"] == pytest.approx(bits / num_bytes)
    assert test["floors"]["uniform_bits_per_byte"] == pytest.approx(
        tokens * math.log2(len(counts)) / num_bytes
    )


def test_another_template_in_the_tuned_folder_is_refused(example_folder):
    path = example_folder / "models/consolidated/chat_template.jinja"
    path.write_text(CHAT_TEMPLATE.replace("<{{", "[{{").replace("<a", "[a"))
    message = r"validation.tokens.bin has other tokens of .* than .*consolidated"
    with pytest.raises(RetuneError, match=message):
        run_evaluate(example_folder)


def test_a_baseline_of_another_template_is_refused(example_folder):
    # It renders the same, but is another one all the same.
    path = example_folder / "models/consolidated/chat_template.jinja"
    path.write_text(CHAT_TEMPLATE + "{# new #}")
    with pytest.raises(RetuneError, match=r"chat_template_sha256 .*, now .*baseline"):
        run_evaluate(example_folder)


@pytest.mark.parametrize(
    ("step", "model"), [(run_baseline, "base"), (run_evaluate, "consolidated")]
)
def test_a_folder_whose_tokenizer_renders_otherwise_is_refused(
    example_folder, step, model, monkeypatch
):
    from retune.evaluation import document_tokens

    load = document_tokens.load_auto_tokenizer

    def with_other_template(folder):
        auto = load(folder)
        auto.chat_template = CHAT_TEMPLATE.replace("<", "[")
        return auto

    monkeypatch.setattr(document_tokens, "load_auto_tokenizer", with_other_template)
    with pytest.raises(RetuneError, match=rf"models/{model}: AutoTokenizer .* token 0"):
        step(example_folder)


def test_other_trained_tokens_than_those_of_tokenize_are_refused(example_folder):
    path = example_folder / "data/tokens/test.trained.bin"
    bits = np.fromfile(path, "u1")
    bits[1] ^= 1
    bits.tofile(path)
    message = r"test.trained.bin: other tokens of document 'test-0' of test .* again"
    with pytest.raises(RetuneError, match=message):
        run_evaluate(example_folder)


def test_other_sequences_than_those_of_tokenize_are_refused(example_folder):
    write_example_splits(
        example_folder / "data/clean", test=[TWO_TURNS, *TEST_EXAMPLES[1:]]
    )
    run_baseline(example_folder)
    with pytest.raises(RetuneError, match=r"other tokens of document 'test-0' of test"):
        run_evaluate(example_folder)


def test_an_example_that_spells_out_special_tokens_is_scored(example_folder):
    spelled = Conversation((say("user", f"What is {END}?"), say("assistant", END)))
    write_example_splits(example_folder / "data/clean", test=[spelled])
    make_tokens(example_folder)
    run_baseline(example_folder)
    run_evaluate(example_folder)
    tuned = read_json(example_folder / "metrics/evaluation.json")["test"]["tuned"]
    facts = ModelFacts.read(example_folder / "models/base")
    tokenizer = ModelTokenizer.of(example_folder / "models/base", facts)
    # As text, and the token that ends the turn.
    assert tuned["tokens"] == len(list(tokenizer.encode([END]))[0]) + 1


def test_an_example_that_the_template_refuses_is_named(example_folder):
    path = example_folder / "models/base/chat_template.jinja"
    path.write_text("{{ raise_exception('Only users here') }}")
    with pytest.raises(RetuneError, match=r"document 'validation-0' of .*Only users"):
        run_baseline(example_folder)


@pytest.mark.parametrize("limit", [0, 1, 100])
def test_exact_match_counts_short_answers(example_folder, limit):
    changed = {"exact_match_examples": limit}
    run_baseline(example_folder, SETTINGS.model_copy(update=changed))
    match = read_json(example_folder / "metrics/baseline.json")["exact_match"]
    # THOUGHTS has a thought, LONG a long answer, TWO_TURNS no room for one.
    expected = min(limit, len([SHORT, COMPLETION]))
    assert (match or {"examples": 0})["examples"] == expected


def test_a_baseline_that_answered_other_examples_is_refused(example_folder):
    changed = {"exact_match_examples": 1}
    with pytest.raises(RetuneError, match=r"answered 2 examples, now there are 1"):
        run_evaluate(example_folder, SETTINGS.model_copy(update=changed))


def test_exact_match_is_what_ends_and_is_the_same(example_folder):
    base = example_folder / "models/base"
    facts = ModelFacts.read(base)
    language_model = load_model(base, facts)
    tokenizer = language_model.tokenizer
    texts = [text[:end].rstrip() for text in SENTENCES for end in (1, 9, 20, 30)]
    prompts = [[facts.bos_token_id, *ids] for ids in tokenizer.encode(texts)]
    ends = [generate(language_model, [ids], 4, GREEDY, [])[0][3] for ids in prompts]
    written = [generate(language_model, [ids], 4, GREEDY, ends)[0] for ids in prompts]
    examples = [
        Completion(text, answer)
        for text, answer in zip(texts, map(tokenizer.decode, written), strict=True)
        if answer.strip()
    ]
    examples[1] = Completion(examples[1].prompt, examples[1].completion + "!")
    number = len(examples)
    assert number > 3

    def match(batch_size: int, end_tokens: list[int]):
        changed = facts.model_copy(update={"end_token_ids": tuple(end_tokens)})
        settings = SETTINGS.model_copy(update={"batch_size": batch_size})
        model = replace(language_model, facts=changed)
        found = measure_exact_match("baseline", model, examples, settings)
        return found.matches, found.examples

    # Prompts of other lengths beside one another are padded and not attended to.
    assert match(1, ends) == match(16, ends) == (number - 1, number)
    # What does not end is no answer.
    assert match(16, [facts.eos_token_id]) == (0, number)


@pytest.mark.parametrize(("blanks", "matches"), [(0, 1), (7, 1), (8, 0), (20, 0)])
def test_an_answer_that_goes_on_with_blanks_has_not_ended(
    example_inputs, monkeypatch, blanks, matches
):
    base = example_inputs / "models/base"
    language_model = load_model(base, ModelFacts.read(base))
    answer, blank = language_model.tokenizer.encode(
        [COMPLETION.completion.strip(), " "]
    )
    written = [[*answer, *blank * blanks]]
    monkeypatch.setattr(exact_match, "generate", lambda *_: written)
    found = measure_exact_match("baseline", language_model, [COMPLETION], SETTINGS)
    assert found.matches == matches


def test_examples_are_chosen_from_all_over_the_split():
    examples = [Completion(str(number), "a") for number in range(10)]
    assert [each.prompt for each in evenly_chosen(examples, 3)] == ["0", "3", "6"]
    assert evenly_chosen(examples, 50) == examples
