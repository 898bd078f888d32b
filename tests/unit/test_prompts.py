"""Prompts of one's own data: whole words, from documents far apart, that fit."""

import pytest

from retune.evaluation.prompts import beginning_of, find_prompts
from retune.settings import SampleSettings

AUTO = SampleSettings()
LETTERS = [
    "Sehr geehrte Frau Krüger, vielen Dank für Ihr Schreiben vom letzten Montag.",
    "Sehr geehrte Frau Krüger, vielen Dank für Ihr Schreiben vom letzten Freitag.",
    "Lieber Onkel Heinrich, gestern sind wir endlich in Lübeck angekommen.",
    "An das Finanzamt: hiermit lege ich Einspruch gegen den Bescheid ein.",
    "Guten Tag, ich möchte meinen Vertrag zum Ende des Jahres kündigen.",
]
WIKI = " = Robert Boulter = \n \n Robert"


def always(prompt):
    return True


def test_prompts_are_whole_first_words_of_documents_far_apart():
    assert find_prompts(AUTO, LETTERS, always) == [
        "Sehr geehrte Frau Krüger, vielen Dank",
        "Lieber Onkel Heinrich, gestern",
        "Guten Tag, ich möchte meinen",
    ]


def test_the_prompts_of_the_settings_are_taken_as_they_are():
    settings = SampleSettings(prompts=["Return the", ""])
    assert find_prompts(settings, LETTERS, always) == ["Return the", ""]
    assert find_prompts(SampleSettings(prompts=[]), LETTERS, always) == []


def test_documents_that_begin_alike_give_one_prompt():
    texts = [LETTERS[0]] * 7 + [LETTERS[2]]
    assert find_prompts(AUTO, texts, always) == [
        "Sehr geehrte Frau Krüger, vielen Dank",
        "Lieber Onkel Heinrich, gestern",
    ]


@pytest.mark.parametrize(
    ("text", "prompt"),
    [
        ("one two three four five six seven " * 3, "one two three four five six"),
        (" = Robert Boulter = \n \n Robert Boulter is an English film actor", WIKI),
        ("Good morning, everybody", "Good"),
        ("two words", "two"),
        ("word", None),
        ("   \n", None),
        ("https://example.org/" + "a" * 80 + " is an address " * 9, None),
        # In Chinese and Japanese after a character, never before a small letter.
        ("我们昨天终于到了北京。天气很好，大家都很高兴。", "我们昨天终于到了北京"),
        ("吾輩は猫である。名前はまだ無い。どこで生れたか", "吾輩は猫である。名前は"),
        ("東京タワーへ行った。とても高かった。", "東京タワーへ行った"),
        # Python in Chinese: a word in another script stays whole.
        ("我用Python写程序，因为它简单，也很好用。", "我用Python写程序"),
    ],
)
def test_a_beginning_is_at_most_half_and_ends_with_a_word(text, prompt):
    assert beginning_of(text, always) == prompt


@pytest.mark.parametrize("text", ["นี่คือจดหมายที่ฉันเขียนถึงเธอเมื่อวานนี้จากกรุงเทพ"])
def test_signs_stay_with_their_letter(text):
    prompt = beginning_of(text, always)
    rest = text.removeprefix(prompt)
    assert 3 < len(prompt) <= 13
    assert rest[0].isalpha()
    assert prompt[-1] not in "เแโใไ"


def test_a_prompt_is_shortened_until_it_fits_the_model():
    def fits(prompt):
        return len(prompt.split()) <= 2

    assert beginning_of(LETTERS[0], fits) == "Sehr geehrte"
    assert beginning_of(LETTERS[0], lambda prompt: False) is None


def test_without_any_beginning_the_model_starts_by_itself():
    assert find_prompts(AUTO, ["word", "other"], always) == [""]
