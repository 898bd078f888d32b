"""Which held-out examples are dropped for what they share with train."""

import pytest

from prepare_case import Case, asked, examples, row, rows
from retune.errors import RetuneError
from retune.examples.example import Completion, Conversation


@pytest.fixture
def case(tmp_path):
    return Case(tmp_path)


def with_system(example):
    system = {"role": "system", "content": "one two three four five"}
    tool = {"type": "function", "function": {"name": "six seven eight nine ten"}}
    return Conversation((system, *example.messages), (tool,))


REASONED = {"reasoning_content": "Let me think about this"}

# An example of train, a held-out one, and the figure that counts the latter.
CASES = {
    "most of an answer": (
        asked("First?", "It is a b c d."),
        asked("Second?", "As it is: A, B, C, D."),
        "by_answer",
    ),
    "a phrase of an answer": (
        asked("First?", "It is a b c d."),
        asked("Second?", "I am sorry, but A, B, C, D are not known to me."),
        None,
    ),
    "a run of reasoning": (
        asked("First?", "Yes.", **REASONED),
        asked("Second?", "No.", **REASONED),
        "by_answer",
    ),
    "a run of a completion": (
        Completion("First", "a b c d"),
        asked("Second?", "a b c d"),
        "by_answer",
    ),
    "a whole question": (
        asked("Who  is\nit?", "I."),
        asked("who is it?", "You."),
        "by_question",
    ),
    "a whole long question": (
        asked("Who is a b c d?", "I."),
        asked("Who is a b c d?", "You."),
        "by_question",
    ),
    "question and answer": (
        asked("Who is it?", "a b c d e"),
        asked("Who is it?", "b c d e f"),
        "by_answer",
    ),
    "a run of a question": (
        asked("Translate this text now: good", "Gut."),
        asked("Translate this text now: bad", "Schlecht."),
        "similar_questions",
    ),
    "a run of an untrained turn": (
        Conversation(
            (
                {"role": "user", "content": "First?"},
                {"role": "assistant", "content": "a b c d", "train": False},
                {"role": "user", "content": "Second?"},
                {"role": "assistant", "content": "Third.", "train": True},
            )
        ),
        asked("Fourth: a b c d", "Fifth."),
        "similar_questions",
    ),
    "a short answer": (asked("6 * 7?", "42"), asked("7 * 6?", "42"), None),
    "a question in an answer": (
        asked("a b c d", "Yes."),
        asked("No?", "a b c d"),
        None,
    ),
    "system and tools": (
        with_system(asked("First?", "Yes.")),
        with_system(asked("Second?", "No.")),
        None,
    ),
    "blank prompts": (Completion("", "Once."), Completion(" ", "Twice."), None),
}


@pytest.mark.parametrize("name", CASES)
def test_a_held_out_example_is_judged_by_its_answer_and_its_whole_question(case, name):
    trained, held_out, figure = CASES[name]
    case.write(
        train=[*examples(range(9)), row("a", trained)],
        validation=[*examples([20], "v"), row("b", held_out)],
        test=examples([30], "t"),
    )
    done = case.run(overlap_words=4)
    is_removed = figure in ("by_answer", "by_question")
    assert f"{int(is_removed)} overlapping with train" in done
    assert case.ids("validation") == (["v0020"] if is_removed else ["b", "v0020"])
    none = {"validation": 0, "test": 0}
    counts = dict.fromkeys(("by_answer", "by_question", "similar_questions"), none)
    if figure:
        counts[figure] = {"validation": 1, "test": 0}
    removed = {"validation": int(is_removed), "test": 0}
    assert case.figures["overlap"] == {
        "words": 4,
        "removed": removed,
        "examples": counts,
    }
    case.run(overlap_words=0)
    assert case.ids("validation") == ["b", "v0020"]
    assert case.figures["overlap"] == {"words": 0, "removed": none, "examples": None}


@pytest.mark.parametrize(
    ("kind", "lost", "message"),
    [
        (
            rows,
            lambda text: text + " end",
            "prepare.overlap_words: 4 removes all 1 validation documents, each shares"
            " such a run with train: raise it, or 0 keeps them",
        ),
        (
            examples,
            lambda line: line.replace("It is", "Is it not"),
            "prepare.overlap_words: 4 removes all 1 validation examples, each shares"
            " half of its answer, or its whole question, with train: raise it, or 0"
            " keeps them",
        ),
    ],
)
def test_a_split_that_is_lost_to_overlap_says_why(case, kind, lost, message):
    (same,) = kind([3], "v")
    same |= {name: lost(same[name]) for name in ("text", "example") if name in same}
    case.write(train=kind(range(9)), validation=[same], test=kind([30], "t"))
    with pytest.raises(RetuneError) as error:
        case.run(overlap_words=4)
    assert str(error.value) == message


def test_one_question_for_all_examples_is_an_instruction(case):
    case.write(
        train=[row(f"e{n}", asked("Tell a story.", f"Story {n}.")) for n in range(30)]
    )
    done = case.run()
    assert done.startswith("30 examples: 18 train, 6 validation, 6 test;")
    assert done.endswith("0 overlapping with train")


def test_a_question_that_many_ask_is_an_instruction_too(case):
    asked_often = [
        row(f"e{n:02}", asked(f"Write {'ABC'[n % 3]}.", f"Here is {n}."))
        for n in range(90)
    ]
    case.write(train=asked_often)
    done = case.run()
    assert done.startswith("90 examples: 54 train, 18 validation, 18 test;")


def test_examples_with_the_same_question_stay_in_one_split(case):
    case.write(
        train=[
            row(f"e{n:02}", asked(f"Who  is {n // 3}?".replace("Who", who), f"It {n}."))
            for n in range(60)
            for who in [("Who", "WHO")[n % 2]]
        ]
    )
    done = case.run()
    assert done.endswith("0 overlapping with train")
    splits = {}
    for split in ("train", "validation", "test"):
        for name in case.ids(split):
            splits.setdefault(int(name[1:]) // 3, set()).add(split)
    assert len(splits) == 20
    assert all(len(found) == 1 for found in splits.values())
    assert case.ids("validation")
    assert case.ids("test")
