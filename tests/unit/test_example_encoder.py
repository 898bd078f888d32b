"""The tokens of examples, for tokenizers of every kind, and which are trained."""

import pytest
from tokenizers import AddedToken

from retune.chat.template import FILE, builtin_template
from retune.errors import RetuneError
from retune.examples.example import Completion, Conversation
from retune.tokens.example_encoder import ExampleEncoder
from retune.tokens.tokenizer import ModelTokenizer
from tiny_facts import tiny_facts
from tiny_tokenizers import KINDS, byte_level

CONTROL = ["<|im_start|>", "<|im_end|>"]
BOS, EOS = "<s>", "</s>"


def make_encoder(folder, tokenizer, template="chatml", spelled_is_text=True):
    """Return the encoder of a tiny model with a built-in template."""
    tokenizer.add_special_tokens([AddedToken(token) for token in CONTROL])
    tokenizer.save(str(folder / "tokenizer.json"))
    if template:
        (folder / FILE).write_text(builtin_template(template))
    ids = [tokenizer.token_to_id(token) for token in (BOS, EOS, CONTROL[1])]
    facts = tiny_facts(
        vocab_size=5000,
        bos_token_id=ids[0],
        eos_token_id=ids[1],
        end_token_ids=sorted(ids[1:]),
        split_special_tokens=spelled_is_text,
        chat_variables={"bos_token": BOS, "eos_token": EOS},
    )
    return ExampleEncoder(folder, facts, ModelTokenizer.of(folder, facts))


def chat(question, answer, **more):
    return Conversation(
        (
            {"role": "user", "content": question},
            {"role": "assistant", "content": answer, "train": True, **more},
        )
    )


def tokens_of(encoder, example):
    """Return the strings of all tokens of an example, and those of the trained ones."""
    (sequence,) = encoder.encode(["it"], [example])[0]
    names = [encoder._tokenizer.name_of(int(token)) for token in sequence.ids]
    trained = [n for n, yes in zip(names, sequence.trained, strict=True) if yes]
    return names, trained


@pytest.mark.parametrize("kind", KINDS)
def test_the_answer_and_the_end_of_its_turn_are_trained(tmp_path, kind):
    encoder = make_encoder(tmp_path, KINDS[kind]())
    names, trained = tokens_of(encoder, chat("quick fox", "one word"))
    assert names.count("<|im_start|>") == 2
    assert names.count("<|im_end|>") == 2
    assert trained[-1] == "<|im_end|>"
    assert "<|im_start|>" not in trained
    start = names.index(CONTROL[0], 1)
    assert "word" in "".join(names[start:])
    end = names.index(CONTROL[1], start)
    assert names[end + 1 - len(trained) : end + 1] == trained


@pytest.mark.parametrize("kind", KINDS)
def test_spelled_tokens_are_text_and_change_nothing_else(tmp_path, kind):
    encoder = make_encoder(tmp_path, KINDS[kind]())
    spelled = "fox <|im_end|> and <|im_start|>word"
    names, trained = tokens_of(encoder, chat(spelled, f"{spelled}."))
    assert names.count("<|im_start|>") == 2
    assert names.count("<|im_end|>") == 2
    assert trained[-1] == "<|im_end|>"
    # With one such token in another row, a row without any has the same tokens.
    plain = chat("quick fox", "one word")
    alone = encoder.encode(["it"], [plain])[0][0].ids.tolist()
    (text,) = encoder.texts_of(plain)
    aliased, spans = encoder.spelled.with_aliases(text.text, text.spans)
    (other,) = encoder._aliased.encode([aliased], [spans])
    assert other.ids.tolist() == alone


def test_spelled_tokens_that_the_user_wants_are_special(tmp_path):
    encoder = make_encoder(tmp_path, byte_level(), spelled_is_text=False)
    names, _ = tokens_of(encoder, chat("<|im_end|>", "word"))
    assert names.count("<|im_end|>") == 3


def test_what_is_spelled_is_the_text_that_was_spelled(tmp_path):
    encoder = make_encoder(tmp_path, byte_level())
    names, trained = tokens_of(encoder, chat("a", "<|im_end|>"))
    assert "".join(trained) == "<|im_end|><|im_end|>"
    assert len(trained) == 11
    text = encoder.prompt_of(chat("<|im_end|>", "word"))
    ids = encoder.encode_prompt(text)
    shown = [encoder._tokenizer.name_of(token) for token in ids]
    assert shown.count("<|im_end|>") == 1
    assert "".join(shown).count("<|im_end|>") == 2


@pytest.mark.parametrize("kind", ["byte_level", "unigram"])
def test_a_completion_is_one_text_between_bos_and_eos(tmp_path, kind):
    encoder = make_encoder(tmp_path, KINDS[kind](), template=None)
    names, trained = tokens_of(encoder, Completion("quick fox", " jumps"))
    whole = encoder._tokenizer.encode(["quick fox jumps"])
    assert [names[0], names[-1]] == [BOS, EOS]
    ids = [encoder._tokenizer.name_of(token) for token in next(iter(whole))]
    assert names[1:-1] == ids
    assert trained[-1] == EOS
    assert "".join(trained[:-1]) in (" jumps", "Ġjumps", "▁jumps")


def test_a_token_over_the_border_is_not_trained_and_counted(tmp_path):
    encoder = make_encoder(tmp_path, byte_level(), template=None)
    example = Completion("The quick bro", "wn fox")
    (sequence,) = encoder.encode(["it"], [example])[0]
    names, trained = tokens_of(encoder, example)
    assert "brown" in "".join(names)
    assert sequence.straddling == 1
    assert "".join(trained) == "Ġfox</s>"


def test_a_blank_before_the_border_belongs_to_its_token(tmp_path):
    encoder = make_encoder(tmp_path, byte_level(), template=None)
    # So a blank at the end of a prompt belongs to the completion.
    (sequence,) = encoder.encode(["it"], [Completion("The ", "quick fox")])[0]
    assert sequence.straddling == 0
    _, trained = tokens_of(encoder, Completion("The ", "quick fox"))
    assert "".join(trained) == "ĠquickĠfox</s>"


def test_marks_of_a_thought_in_a_content_stay_special(tmp_path):
    tokenizer = byte_level()
    tokenizer.add_special_tokens(["<think>", "</think>"])
    encoder = make_encoder(tmp_path, tokenizer)
    names, trained = tokens_of(
        encoder, chat("<|im_end|>", "<think>fox</think>word <|im_end|>")
    )
    assert trained[0] == "<think>"
    assert trained.count("</think>") == 1
    assert names.count("<|im_end|>") == 2


def test_bos_of_the_template_stands_once(tmp_path):
    encoder = make_encoder(tmp_path, byte_level(), template="alpaca")
    names, trained = tokens_of(encoder, chat("a", "word"))
    assert names.count(BOS) == 1
    assert names[0] == BOS
    assert "".join(trained) == f"word{EOS}"


def test_a_model_without_a_template_is_told(tmp_path):
    encoder = make_encoder(tmp_path, byte_level(), template=None)
    with pytest.raises(RetuneError, match="model.chat_template: auto, but the model"):
        encoder.encode(["it"], [chat("a", "b")])


def test_all_that_cannot_be_trained_is_named(tmp_path):
    encoder = make_encoder(tmp_path, byte_level())
    bad = chat("a", "b", reasoning_content="because")
    names = [f"row {number}" for number in range(6)]
    with pytest.raises(RetuneError) as caught:
        encoder.encode(names, [chat("a", "b"), *[bad] * 5])
    lines = str(caught.value).splitlines()
    assert [line.partition(":")[0] for line in lines] == [
        "row 1",
        "row 2",
        "row 3",
        "and 2 more of 6",
    ]
