"""Every kind of tokenizer: what a text becomes, and what of it is lost."""

import json
from collections import Counter

import pytest
from tokenizers import AddedToken, Tokenizer, normalizers, processors
from tokenizers.models import BPE

from retune.errors import RetuneError
from retune.tokens import text_batches
from retune.tokens.tokenizer import ModelTokenizer
from tiny_tokenizers import KINDS, bpe_without_unknown, byte_level

BOS, EOS = 1, 2


def save(tokenizer, folder, **options):
    tokenizer.save(str(folder / "tokenizer.json"))
    options = {"vocab_size": 10_000, "bos_eos": (BOS, EOS), **options}
    return ModelTokenizer(folder, **options)


def edit(folder, change):
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    return ModelTokenizer(folder, 10_000, (BOS, EOS))


def lost_of(tokenizer, *texts):
    return tokenizer.lost_characters.count(texts, tokenizer.encode_texts(texts))


@pytest.mark.parametrize("kind", KINDS)
def test_plain_text_is_encoded_as_the_file_says_and_loses_nothing(kind, tmp_path):
    raw = KINDS[kind]()
    tokenizer = save(raw, tmp_path)
    text = "the lazy word and one more word"
    assert list(tokenizer.encode([text, text])) == [raw.encode(text).ids] * 2
    if kind != "word_level":  # for which "the" is new
        assert lost_of(tokenizer, text) == {}


@pytest.mark.parametrize(
    ("kind", "lost"),
    [
        ("byte_level", ""),
        ("byte_fallback", ""),
        ("byte_level_of_ascii", "Привет☃"),
        ("bpe_without_unknown", "Привет☃"),
        ("bpe_with_unknown", "Привет☃"),
        ("bpe_with_fused_unknown", "Привет☃"),
        ("unigram", "Привет☃"),
        # A word with one new character is unknown as a whole.
        ("word_piece", "Приветdog☃"),
        ("word_level", "Приветdog☃"),
    ],
)
def test_lost_characters_are_counted(kind, lost, tmp_path):
    tokenizer = save(KINDS[kind](), tmp_path)
    assert lost_of(tokenizer, "over Привет", "dog☃ lazy") == Counter(lost)


@pytest.mark.parametrize("kind", ["bpe_without_unknown", "bpe_with_unknown"])
@pytest.mark.parametrize(
    ("normalizer", "text", "lost"),
    [
        (normalizers.Lowercase(), "THE QUICK FOX", ""),
        (normalizers.NFKC(), "ﬁx", ""),
        (
            normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents()]),
            "é",
            "",
        ),
        # Composed to one character, which no token has.
        (normalizers.NFC(), "e\u0301", "e"),
        (normalizers.Lowercase(), "THÉ", "É"),
        (normalizers.Prepend("▁"), "the", ""),
    ],
)
def test_what_is_changed_on_purpose_is_not_lost(kind, normalizer, text, lost, tmp_path):
    raw = KINDS[kind]()
    raw.normalizer = normalizer
    assert lost_of(save(raw, tmp_path), text) == Counter(lost)


def test_characters_of_ascii_may_be_lost(tmp_path):
    tokenizer = save(bpe_without_unknown(), tmp_path)
    assert lost_of(tokenizer, "the #dog#") == Counter("##")


def test_what_becomes_of_ascii_may_be_lost(tmp_path):
    raw = Tokenizer(BPE({chr(number): number for number in range(128)}, []))
    raw.normalizer = normalizers.Replace("...", "\u2026")
    tokenizer = save(raw, tmp_path)
    assert lost_of(tokenizer, "the dog") == {}
    assert lost_of(tokenizer, "the dog...") == Counter(".")


def test_white_space_that_separates_words_is_not_lost(tmp_path):
    assert lost_of(save(KINDS["word_piece"](), tmp_path), "the \n\n\t dog") == {}


def test_dropped_characters_do_not_change_the_tokens_beside_them(tmp_path):
    tokenizer = save(bpe_without_unknown(), tmp_path)
    plain, dropped = tokenizer.encode(["the", "t☃h☃e"])
    assert plain == dropped


@pytest.mark.parametrize("kind", KINDS)
def test_a_special_token_in_a_text_is_text(kind, tmp_path):
    tokenizer = save(KINDS[kind](), tmp_path)
    text = "the </s> dog"
    (ids,) = tokenizer.encode([text])
    assert EOS not in ids
    assert tokenizer.count_special_tokens(text) == 1
    (kept,) = save(KINDS[kind](), tmp_path, split_special_tokens=False).encode([text])
    assert kept.count(EOS) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_an_eos_that_is_a_word_of_the_vocabulary_alone_is_text(kind, tmp_path):
    save(KINDS[kind](), tmp_path)
    tokenizer = edit(tmp_path, lambda content: content.update(added_tokens=[]))
    (ids,) = tokenizer.encode(["the </s> dog"])
    assert EOS not in ids
    assert tokenizer.count_special_tokens("the </s> dog") == 1
    assert "</s>" not in tokenizer.decode([EOS, *ids[:1]])


@pytest.mark.parametrize(
    "options",
    [
        {"lstrip": True, "rstrip": True},
        {"single_word": True},
        {"normalized": True},
        {"special": False},
    ],
    ids=str,
)
def test_an_eos_of_any_sort_is_text(options, tmp_path):
    raw = byte_level()
    raw.normalizer = normalizers.Lowercase()
    # EOS of the facts, though the file may not call it special.
    raw.add_tokens([AddedToken("<END>", **{"special": True, **options})])
    end = raw.token_to_id("<END>")
    tokenizer = save(raw, tmp_path, bos_eos=(end, end))
    (ids,) = tokenizer.encode(["the <END> dog"])
    assert end not in ids
    assert tokenizer.decode([*ids, end]) == "the <end> dog"


def test_added_tokens_that_are_not_special_stay_tokens(tmp_path):
    raw = byte_level()
    raw.add_tokens(["<think>"])
    (ids,) = save(raw, tmp_path).encode(["a <think> b"])
    assert ids.count(raw.token_to_id("<think>")) == 1


def test_ids_of_other_tokens_stay_when_special_ones_are_hidden(tmp_path):
    raw = KINDS["unigram"]()
    raw.add_special_tokens(["<extra>"])
    raw.add_tokens(["<think>"])
    (ids,) = save(raw, tmp_path).encode(["<extra> </s> <think>"])
    assert raw.token_to_id("<think>") in ids
    assert raw.token_to_id("<extra>") not in ids


def test_nothing_is_cut_padded_or_added(tmp_path):
    raw = byte_level()
    text = "the quick brown fox " * 20
    plain = raw.encode(text).ids
    raw.enable_truncation(8)
    raw.enable_padding(length=1000, pad_id=EOS, pad_token="</s>")
    raw.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", BOS), ("</s>", EOS)]
    )
    assert raw.encode(text).ids != plain
    assert list(save(raw, tmp_path).encode([text])) == [plain]


def test_a_token_beyond_the_models_vocabulary_is_refused(tmp_path):
    raw = byte_level()
    raw.add_tokens(["<think>"])
    beyond = raw.token_to_id("<think>")
    tokenizer = save(raw, tmp_path, vocab_size=beyond)
    list(tokenizer.encode(["without it"]))
    with pytest.raises(
        RetuneError, match=rf"has id {beyond} \(<think>\), .* {beyond}:"
    ):
        list(tokenizer.encode(["with <think> in it"]))


def test_an_unknown_token_that_is_in_no_vocabulary_is_an_error_of_the_file(tmp_path):
    save(KINDS["bpe_with_unknown"](), tmp_path)
    tokenizer = edit(tmp_path, lambda file: file["model"].update(unk_token="[UNK]"))
    with pytest.raises(RetuneError, match=r"tokenizer.json cannot encode .*\[UNK\]"):
        list(tokenizer.encode(["☃"]))


def test_a_file_without_the_models_type_is_read(tmp_path):
    raw = KINDS["word_piece"]()
    before = list(save(raw, tmp_path).encode(["the dog"]))
    tokenizer = edit(tmp_path, lambda file: file["model"].pop("type"))
    assert list(tokenizer.encode(["the dog"])) == before


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"model": {"vocab": {}}}'])
def test_a_damaged_file_is_named(content, tmp_path):
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(RetuneError, match=r"tokenizer\.json"):
        ModelTokenizer(tmp_path, 10, ())


def test_the_first_difference_of_two_encodings_is_told(tmp_path):
    tokenizer = save(byte_level(), tmp_path)
    assert not tokenizer.find_difference("ab", [[1], [1, 2]], [[1], [1, 2]])
    found = tokenizer.find_difference("ab", [[1], [1, 2]], [[1], [1]])
    assert found == ("b", "token 1 is none there, and here 2 (</s>)")


def test_decoding_leaves_special_tokens_out(tmp_path):
    tokenizer = save(byte_level(), tmp_path)
    (ids,) = tokenizer.encode(["the dog"])
    assert tokenizer.decode([BOS, *ids, EOS]) == "the dog"


def test_texts_are_encoded_in_batches_of_bounded_number_and_size(monkeypatch):
    monkeypatch.setattr(text_batches, "TEXTS_PER_BATCH", 3)
    monkeypatch.setattr(text_batches, "CHARACTERS_PER_BATCH", 10)
    texts = ["", "a", "b", "c", "d" * 9, "e", "f", "g" * 20, "h"]
    assert list(text_batches.batches_of(texts)) == [
        ["", "a", "b"],
        ["c", "d" * 9],
        ["e", "f"],
        ["g" * 20],
        ["h"],
    ]
