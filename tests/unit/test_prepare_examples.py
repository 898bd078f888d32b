"""What `prepare` does with examples: checks, duplicates, sizes, splits."""

import json

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prepare_case import SPLITS, Case, asked, examples, row, rows
from retune.errors import RetuneError
from retune.examples.example import Completion, Conversation, as_line, read_example
from retune.examples.example_facts import add_facts, facts_of, in_nfc


@pytest.fixture
def case(tmp_path):
    return Case(tmp_path)


def user(content):
    return {"role": "user", "content": content}


def says(content, **more):
    return {"role": "assistant", "content": content, "train": True} | more


def conversation(*messages, tools=()):
    return Conversation(messages, tools)


CALL = {"type": "function", "function": {"name": "add", "arguments": {"a": 1}}}
TOOL = {"type": "function", "function": {"name": "add", "parameters": {}}}
SYSTEM = {"role": "system", "content": "Be brief."}
ANSWERED_BY_TOOL = {"role": "tool", "content": "3"}

BAD = {
    "no messages": (conversation(), "no_messages"),
    "no messages, but tools": (conversation(tools=(TOOL,)), "no_messages"),
    "untrained": (asked("Why?", "So.", train=False), "nothing_trained"),
    "no assistant": (conversation(user("Why?")), "nothing_trained"),
    "blank answer": (asked("Why?", " \n"), "answer_missing"),
    "only reasoning": (
        asked("Why?", "", reasoning_content="Well,"),
        "answer_missing",
    ),
    "one blank answer of two": (
        conversation(user("Why?"), says("So."), user("Really?"), says("")),
        "answer_missing",
    ),
    "blank completion": (Completion("Why?", "\t"), "answer_missing"),
    "blank prompt and completion": (Completion("", ""), "answer_missing"),
    "blank question": (asked(" ", "So."), "question_missing"),
    "no question": (conversation(SYSTEM, says("So.")), "question_missing"),
    "nul in the answer": (asked("Why?", "a\0b"), "text_with_nul"),
    "nul in the system's": (
        conversation(SYSTEM | {"content": "\0"}, user("Why?"), says("So.")),
        "text_with_nul",
    ),
    "nul in a tool": (
        conversation(user("Why?"), says("So."), tools=(TOOL | {"doc": ["\0"]},)),
        "text_with_nul",
    ),
    "nul in a prompt": (Completion("\0", "So."), "text_with_nul"),
    "two at once": (
        conversation(user(""), says("", train=False)),
        "nothing_trained, question_missing",
    ),
}
GOOD = {
    "a short answer": asked("6 * 7?", "42"),
    "no letters": asked("?", "!"),
    "a completion without a prompt": Completion("", "Once upon a time."),
    "a call and no content": asked("1 + 2?", "", tool_calls=[CALL]),
    "a question by a tool": conversation(ANSWERED_BY_TOOL, says("3")),
    "a blank answer that is not trained": conversation(
        user("Why?"), says("", train=False), user("Why?"), says("So.")
    ),
    "a backslash before u0000": asked("NUL in JSON?", r"\u0000"),
    "the assistant first": conversation(says("Yes?"), user("Why?"), says("So.")),
}


@pytest.mark.parametrize("name", BAD)
def test_each_reason_is_found_and_named(case, name):
    example, check = BAD[name]
    case.write(train=[*examples(range(300)), row("bad", example)])
    assert "1 rejected" in case.run()
    assert case.read("rejected").to_dicts() == [
        {"id": "bad", "split": "train", "check": check, "example": example.to_json()}
    ]
    assert case.figures["rejected"]["by_check"] == dict.fromkeys(check.split(", "), 1)


@pytest.mark.parametrize("name", GOOD)
def test_good_examples_are_kept(case, name):
    case.write(train=[*examples(range(30)), row("good", GOOD[name])])
    assert "0 rejected" in case.run(max_rejected_share=1)
    kept = pl.concat([case.read(name) for name in SPLITS])
    (found,) = kept.filter(pl.col("id") == "good")["example"]
    assert read_example(found) == GOOD[name]


@pytest.mark.parametrize(
    ("missing", "check"),
    [
        ("id", "id_missing"),
        ("group", "group_missing"),
        ("example", "example_missing"),
    ],
)
def test_a_value_that_is_missing_is_named(case, missing, check):
    bad = examples([900])[0] | {missing: None}
    case.write(train=[*examples(range(300)), bad])
    case.run()
    assert case.figures["rejected"]["by_check"] == {check: 1}


def test_too_many_rejected_show_question_and_answer(case):
    bad = [row("blank", asked("Why is the sky blue?", "")), row("none", conversation())]
    case.write(train=[*examples(range(8)), *bad])
    with pytest.raises(RetuneError) as error:
        case.run()
    first, *lines = str(error.value).splitlines()
    assert first.endswith("2 of 10 examples (20.0%) failed the checks:")
    assert lines[0] == (
        "  answer_missing: 1, such as train 'blank': 'Why is the sky blue?' -> ''"
    )
    assert lines[1] == "  no_messages: 1, such as train 'none': None -> None"
    assert "other dataset.columns or dataset.trained_turns" in lines[2]
    kept = pl.read_parquet(case.clean.with_name("rejected.parquet"))
    assert kept.columns == ["id", "split", "check", "example"]


COMBINED, SPLIT = "\u00e9", "e\u0301"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (Completion(SPLIT, SPLIT), Completion(COMBINED, COMBINED)),
        (asked(SPLIT, SPLIT), asked(COMBINED, COMBINED)),
        (
            asked("?", SPLIT, reasoning_content=SPLIT, name=SPLIT),
            asked("?", COMBINED, reasoning_content=COMBINED, name=COMBINED),
        ),
        (
            conversation(user("?"), tools=(TOOL | {"values": [SPLIT, 1, None]},)),
            conversation(user("?"), tools=(TOOL | {"values": [COMBINED, 1, None]},)),
        ),
        (
            asked("?", "", tool_calls=[{"arguments": {SPLIT: SPLIT}}]),
            asked("?", "", tool_calls=[{"arguments": {SPLIT: COMBINED}}]),
        ),
        # JSON writes a line break as `\n`, and `n` and a tilde would become one letter.
        (asked("?", "\n\u0303"), asked("?", "\n\u0303")),
        (asked("?", "\n\u0303" + SPLIT), asked("?", "\n\u0303" + COMBINED)),
    ],
)
def test_strings_become_nfc_and_nothing_else_changes(before, after):
    assert in_nfc(before.to_json()) == after.to_json()


def test_json_without_a_string_to_change_is_left_as_it_is():
    line = json.dumps({"prompt": "\n\u0303", "completion": ""}, ensure_ascii=False)
    odd = line.replace(", ", " ,  ")
    assert in_nfc(odd) == odd


@given(st.text(), st.text())
def test_nfc_of_an_example_is_that_of_its_strings(question, answer):
    import unicodedata

    facts = facts_of(Completion(question, answer).to_json())
    assert facts.question == unicodedata.normalize("NFC", question)
    assert facts.answer == unicodedata.normalize("NFC", answer)
    assert facts.has_no_nul == ("\0" not in question + answer)
    assert facts.example == as_line(
        {"prompt": facts.question, "completion": facts.answer}
    )


def test_facts_are_those_of_the_example_in_every_batch(monkeypatch):
    monkeypatch.setattr("retune.examples.example_facts.ROWS_PER_BATCH", 2)
    frame = pl.DataFrame(examples(range(5)))
    facts = add_facts(frame)
    assert facts["id"].to_list() == frame["id"].to_list()
    assert facts["example"].to_list() == frame["example"].to_list()
    assert facts["question"].to_list() == [f"What is word{n}a?" for n in range(5)]


SAME = asked("How are you?", "Well, thank you.")


@pytest.mark.parametrize(
    ("other", "is_same"),
    [
        (SAME, True),
        (asked("How are  you?\n", " Well,\tthank you."), True),
        (Completion("How are you?", "Well, thank you."), False),
        (conversation(*SAME.messages, tools=(TOOL,)), False),
        (asked("How are you?", "Fine."), False),
        (asked("How are they?", "Well, thank you."), False),
        (asked("How are", "you? Well, thank you."), False),
        (conversation(SYSTEM, *SAME.messages), False),
        (
            conversation(user("How are you? Well, thank you."), says("Bye.")),
            False,
        ),
    ],
)
def test_examples_with_the_same_texts_are_duplicates(case, other, is_same):
    case.write(train=[*examples(range(30)), row("a", SAME), row("b", other)])
    case.run(overlap_words=0)
    assert case.figures["duplicates_removed"] == is_same
    assert sum(case.figures["documents"].values()) == 32 - is_same


def test_unicode_forms_of_one_example_are_duplicates(case):
    case.write(
        train=[
            *examples(range(30)),
            row("a", asked("Caf" + SPLIT, "?")),
            row("b", asked("Caf" + COMBINED, "?")),
        ]
    )
    case.run()
    assert case.figures["duplicates_removed"] == 1


def test_texts_and_examples_in_one_dataset_are_refused(case):
    case.write(train=examples(range(9)), validation=rows(range(3)), test=rows([9]))
    with pytest.raises(RetuneError) as error:
        case.run()
    raw = case.raw
    assert str(error.value) == (
        "dataset.format: all splits must be texts, or all examples with an answer;"
        f" texts are in {raw}/validation.parquet, {raw}/test.parquet, examples in"
        f" {raw}/train.parquet"
    )


def test_a_column_of_examples_that_holds_no_strings_is_named(case):
    frame = pl.DataFrame({"id": ["a"], "group": ["a"], "example": [1]})
    frame.write_parquet(case.raw / "train.parquet")
    with pytest.raises(RetuneError, match=r"id, group, example; found id \(String\)"):
        case.run()


def test_the_same_rows_in_any_order_give_the_same_files(case, tmp_path):
    other = Case(tmp_path / "other")
    bad = [row(None, conversation(user(f"{n}?")), "g") for n in range(3)]
    values = examples(range(100)) + bad
    case.write(train=values)
    other.write(train=values[::-1])
    assert case.run() == other.run()
    for name in (*SPLITS, "rejected"):
        written = [
            (one.clean / f"{name}.parquet").read_bytes() for one in (case, other)
        ]
        assert written[0] == written[1]


def test_clean_examples_have_the_columns_of_the_raw_ones(case):
    given_splits = {
        "train": examples(range(9)),
        "validation": examples(range(10, 13), "v"),
        "test": examples(range(20, 22), "t"),
    }
    case.write(**given_splits)
    assert case.run() == (
        "14 examples: 9 train, 3 validation, 2 test; 0 rejected, 0 duplicates,"
        " 0 overlapping with train"
    )
    for name, values in given_splits.items():
        assert case.read(name).to_dicts() == values


def test_figures_tell_what_the_examples_of_a_split_are_like(case):
    chat = conversation(
        SYSTEM,
        user("Où?"),
        says("Ici.", train=False),
        user("And then?"),
        says("", reasoning_content="Add.", tool_calls=[CALL]),
        ANSWERED_BY_TOOL,
        says("3"),
        tools=(TOOL,),
    )
    case.write(
        train=[
            row("a", chat),
            row("b", asked("a b", "c")),
            row("c", Completion("", "d")),
        ],
        validation=examples([1], "v"),
        test=examples([2], "t"),
    )
    case.run(overlap_words=0)
    figures = case.figures
    assert (figures["format"], figures["kind"]) == (2, "example")
    question = "Où?\n\nIci.\n\nAnd then?\n\n3" + "a b"
    answer = "Add.\n\n" + json.dumps(CALL["function"]) + "\n\n3" + "c" + "d"
    assert figures["examples"]["train"] == {
        "turns": {"min": 1, "median": 1.0, "max": 3},
        "trained_turns": 4,
        "with_tools": 1,
        "with_system": 1,
        "with_reasoning": 1,
        "without_blank": 0,
        "question_bytes": len(question.encode()),
        "answer_bytes": len(answer.encode()),
    }
    assert figures["bytes"]["train"] == len((question + answer).encode())
    assert figures["words"]["train"] == 7 + 9


def test_texts_have_no_figures_of_examples(case):
    case.write(train=rows(range(30)))
    case.run()
    assert case.figures["kind"] == "text"
    assert case.figures["examples"] is None
    assert case.figures["overlap"]["examples"] is None


DEFAULT_SHARES = {"validation_share": 0.05, "test_share": 0.05}


def alone(numbers):
    """Texts that are groups of their own."""
    return [one | {"group": one["id"]} for one in rows(numbers)]


@pytest.mark.parametrize("make", [alone, examples])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("number", "held_out"), [(3, 1), (5, 1), (10, 1), (30, 2), (127, 6)]
)
def test_few_documents_give_each_split_some(case, make, seed, number, held_out):
    twins = [one | {"id": f"x{n}"} for n, one in enumerate(make(range(number)))]
    case.write(train=make(range(number)) + twins)
    done = case.run(**DEFAULT_SHARES, seed=seed)
    train = number - 2 * held_out
    assert f": {train} train, {held_out} validation, {held_out} test;" in done


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (alone, "prepare: 2 documents (and 28 duplicates) cannot become 3 splits,"),
        (
            examples,
            "prepare: 2 examples (and 28 duplicates) cannot become 3 splits: give more"
            " examples, or files of their own for validation and test (dataset.files)",
        ),
    ],
)
def test_documents_that_are_nearly_all_equal_are_told_as_duplicates(
    case, make, message
):
    first, second = make(range(2))
    case.write(train=[second, *(first | {"id": f"x{n}"} for n in range(29))])
    with pytest.raises(RetuneError) as error:
        case.run(**DEFAULT_SHARES)
    assert str(error.value).startswith(message)


def test_train_that_holds_nothing_but_test_is_called_that(case):
    case.write(train=examples(range(6)), test=examples(range(6), "t"))
    with pytest.raises(RetuneError, match=r"all its 6 examples are in test, too"):
        case.run()


JOINED = {
    ("Nobody understands me.", "Negative"): True,
    ("Is it so?", "Yes."): True,
    ("The quick", "brown fox"): True,
    ("The quick ", "brown fox"): False,
    ("The quick", " brown fox"): False,
    ("Answer:\n", "Yes"): False,
    ("2 + 2 =", "4"): False,
    ("你好。", "你好"): False,
    ("", "Once"): False,
    ("Once", ""): False,
}


@pytest.mark.parametrize(("prompt", "completion"), JOINED)
def test_a_completion_may_lack_the_blank_before_it(prompt, completion):
    facts = facts_of(Completion(prompt, completion).to_json())
    assert facts.lacks_blank == JOINED[prompt, completion]


def test_completions_that_lack_a_blank_are_told(case):
    rows = [
        row(f"e{n:02}", Completion(f"Who is {n}?", f"Number {n}.")) for n in range(30)
    ]
    case.write(train=rows)
    done = case.run()
    assert done.endswith("; 30 completions follow their prompt without a blank")
    assert case.figures["examples"]["train"]["without_blank"] == 18
