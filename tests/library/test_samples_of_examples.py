"""The step `sample` on data with answers: both models answer what users asked."""

import pytest

from evaluation_case import (
    COMPLETION,
    SAMPLE_SETTINGS,
    SAMPLES,
    SHORT,
    THOUGHTS,
    run_sample,
    say,
    strict_json,
    write_example_splits,
)
from retune.artifacts.model_facts import ModelFacts
from retune.errors import RetuneError
from retune.evaluation.example_prompts import PromptMaker
from retune.evaluation.samples import until_end
from retune.examples.example import Conversation
from retune.tokens.example_encoder import ExampleEncoder
from retune.tokens.tokenizer import ModelTokenizer

AUTO = SAMPLE_SETTINGS.model_copy(update={"prompts": "auto"})
END = "<|endoftext|>"


def maker_of(folder) -> PromptMaker:
    base = folder / "models/base"
    facts = ModelFacts.read(base)
    tokenizer = ModelTokenizer.of(base, facts)
    return PromptMaker(ExampleEncoder(base, facts, tokenizer), tokenizer, facts)


def sampled(folder, settings=AUTO):
    run_sample(folder, settings)
    return strict_json(folder / SAMPLES)["samples"]


def test_by_default_models_answer_test_examples_that_fit(example_folder):
    samples = sampled(example_folder)
    # LONG fills the context, and THOUGHTS' question is its last one.
    pairs = {(sample["prompt"], sample["reference"]) for sample in samples}
    known = {
        ("Is it a list?", "No."),
        ("And now?", "Write it."),
        ("Two?", "the list\n\nNo."),
        (COMPLETION.prompt, COMPLETION.completion),
    }
    assert len(pairs) == 3
    assert pairs <= known
    for sample in samples:
        assert sample["base"] == sample["tuned"]
        assert sample["base_sampled"] != sample["tuned_sampled"]


def test_examples_that_ask_the_same_give_one_prompt(example_folder):
    otherwise = Conversation((SHORT.messages[0], say("assistant", "Yes.")))
    asked = Conversation((say("system", "Be brief."), *SHORT.messages))
    clean = example_folder / "data/clean"
    write_example_splits(clean, test=[SHORT, otherwise, asked])
    # The same question after other words is another prompt.
    assert [sample["prompt"] for sample in sampled(example_folder)] == [
        "Is it a list?"
    ] * 2


def test_examples_that_leave_no_room_are_skipped(example_folder, caplog):
    settings = AUTO.model_copy(update={"max_new_tokens": 60})
    assert sampled(example_folder, settings) == []
    assert "no test example leaves room" in caplog.text


@pytest.mark.parametrize(
    ("example", "text"),
    [
        (SHORT, f"<user>Is it a list?{END}<assistant>"),
        (
            THOUGHTS,
            f"<user>One?{END}<assistant>Yes.{END}<user>Two?{END}<assistant>",
        ),
        (COMPLETION, END + COMPLETION.prompt),
    ],
)
def test_a_prompt_is_all_before_the_last_answer(example_inputs, example, text):
    prompt = maker_of(example_inputs).of_example(example)
    base = example_inputs / "models/base"
    tokenizer = ModelTokenizer.of(base, ModelFacts.read(base))
    shown = "".join(map(tokenizer.name_of, prompt.ids)).replace("Ġ", " ")
    assert shown == text


def test_an_untrained_answer_at_the_end_is_not_asked_for(example_inputs):
    later = {"role": "assistant", "content": "Never.", "train": False}
    example = Conversation((*SHORT.messages, say("user", "And?"), later))
    prompt = maker_of(example_inputs).of_example(example)
    assert (prompt.text, prompt.reference) == ("Is it a list?", "No.")


def test_an_answer_without_a_question_cannot_be_asked_for(example_folder):
    template = example_folder / "models/base/chat_template.jinja"
    template.write_text("{{ messages[0].content }}")
    alone = Conversation((say("assistant", "No."),))
    assert maker_of(example_folder).of_example(alone) is None


def test_prompts_of_the_settings_are_messages_of_users(example_folder, monkeypatch):
    made = []
    of_question = PromptMaker.of_question

    def recorded(self, question, like):
        made.append(of_question(self, question, like))
        return made[-1]

    monkeypatch.setattr(PromptMaker, "of_question", recorded)
    settings = SAMPLE_SETTINGS.model_copy(update={"prompts": ["Hi"]})
    [sample] = sampled(example_folder, settings)
    assert (sample["prompt"], sample["reference"]) == ("Hi", None)
    [prompt] = made
    assert prompt.ids == maker_of(example_folder).of_question("Hi", SHORT).ids


def test_prompts_of_the_settings_are_texts_where_there_is_no_conversation(
    example_folder,
):
    clean = example_folder / "data/clean"
    write_example_splits(clean, validation=[], test=[COMPLETION])
    for model in ("base", "consolidated"):
        (example_folder / "models" / model / "chat_template.jinja").unlink()
    settings = SAMPLE_SETTINGS.model_copy(update={"prompts": ["Return the"]})
    [sample] = sampled(example_folder, settings)
    assert sample["prompt"] == "Return the"


def test_a_prompt_that_leaves_no_room_is_refused(example_folder):
    settings = SAMPLE_SETTINGS.model_copy(update={"max_new_tokens": 64})
    with pytest.raises(RetuneError, match=r"sample.prompts: 'Return the' .* holds 64"):
        run_sample(example_folder, settings)


def test_a_prompt_that_the_template_refuses_is_named(example_folder):
    template = example_folder / "models/consolidated/chat_template.jinja"
    template.write_text("{{ raise_exception('No system, no service') }}")
    with pytest.raises(RetuneError, match=r"sample.prompts: 'Return the': .*service"):
        run_sample(example_folder)


def test_answers_end_at_the_tokens_of_the_facts(example_folder):
    [first, *_] = sampled(example_folder)
    base = example_folder / "models/base"
    facts = ModelFacts.read(base)
    tokenizer = ModelTokenizer.of(base, facts)
    (ids,) = tokenizer.encode([first["base"]])
    ends = tuple({*facts.end_token_ids, *ids})
    facts.model_copy(update={"end_token_ids": ends}).write(base)
    assert sampled(example_folder)[0]["base"] == ""
    assert until_end([5, 6, 7, 6], [6, 9]) == [5]
