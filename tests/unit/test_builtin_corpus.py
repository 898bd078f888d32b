import subprocess
import sys
import unicodedata
from pathlib import Path

import polars as pl
import pytest

from retune.errors import RetuneError
from retune.examples.shared_runs import shared_part
from retune.examples.splits import position_of, splits_of
from retune.sources import builtin_corpus
from retune.sources.builtin_corpus import (
    corpus_origin,
    read_corpus,
    read_corpus_of,
    training_texts,
)

LONG = "A sentence that is repeated until the docstring is long enough. " * 2


@pytest.fixture(scope="module")
def corpus():
    return read_corpus()


@pytest.fixture
def library(tmp_path):
    """A tiny standard library."""
    write(tmp_path / "json/decoder.py", f'"""Decoder. {LONG}"""')
    write(
        tmp_path / "pydoc_data/topics.py",
        f'"""Built on Monday. {LONG}"""\ntopics = {{"assert": {"Assert. " + LONG!r}}}',
    )
    return tmp_path


def write(path, source):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source, encoding="utf-8")


def texts_by_id(folder):
    return dict(read_corpus_of(folder).select("id", "text").iter_rows())


def test_it_is_about_as_large_as_documented(corpus):
    assert 1.5e6 < corpus["text"].str.len_bytes().sum() < 2.6e6
    assert 3_000 < len(corpus) < 5_500
    assert corpus["text"].str.count_matches(r"\S+").sum() > 220_000


def test_ids_are_unique_and_sorted_and_nothing_is_null(corpus):
    assert corpus["id"].n_unique() == len(corpus)
    assert corpus["id"].is_sorted()
    assert corpus.null_count().row(0) == (0, 0, 0)


def test_known_documents_are_there_under_their_names(corpus):
    rows = {row["id"]: row for row in corpus.iter_rows(named=True)}
    decode = rows["stdlib/json/decoder.py:JSONDecoder.raw_decode"]
    assert decode["group"] == "json"
    assert decode["text"].startswith("Decode a JSON document from")
    assert rows["stdlib/textwrap.py:dedent"]["group"] == "textwrap"
    assert rows["topics/assert"]["group"] == "topics"


def test_no_excluded_module_is_in_it(corpus):
    paths = corpus["id"].str.split(":").list.first().str.split("/")
    parts = {part.removesuffix(".py") for part in paths.explode()}
    assert not parts & builtin_corpus.EXCLUDED
    assert not [part for part in parts if part.startswith("config-")]
    assert "stdlib/encodings/cp037.py" not in corpus["id"]  # generated


def test_texts_are_clean_and_all_different(corpus):
    texts = corpus["text"].to_list()
    assert len(set(texts)) == len(texts)
    assert min(map(len, texts)) >= 80
    for text in texts:
        assert text == text.strip()
        assert unicodedata.is_normalized("NFC", text)
        assert " \n" not in text


def test_held_out_parts_share_less_than_one_percent_of_their_runs_with_train(corpus):
    split = splits_of(corpus["group"], 0, 0.05, 0.05)
    train = runs_of(corpus.filter(split == "train")["text"])
    for name in ("validation", "test"):
        held_out = corpus.filter(split == name)
        runs = runs_of(held_out["text"])
        assert len(runs & train) < 0.01 * len(runs)
        assert len(held_out) > 100


def runs_of(texts):
    runs = set()
    for words in texts.str.to_lowercase().str.extract_all(r"\w+"):
        runs |= set(zip(*(words[start:] for start in range(13)), strict=False))
    return runs


def test_training_texts_share_no_run_with_what_prepare_holds_out(corpus, tmp_path):
    from retune.artifacts.publishing import write_manifest
    from retune.settings import PrepareSettings
    from retune.steps import prepare

    (tmp_path / "raw").mkdir()
    corpus.write_parquet(tmp_path / "raw/train.parquet")
    write_manifest(tmp_path / "raw")
    prepare.run(
        PrepareSettings(),
        raw=tmp_path / "raw",
        clean=tmp_path / "clean",
        metrics=tmp_path / "data.json",
    )
    train, *held_out = (
        pl.read_parquet(tmp_path / f"clean/{name}.parquet")["text"]
        for name in ("train", "validation", "test")
    )
    assert train.to_list() == training_texts()
    assert not shared_part(pl.concat(held_out), train, 13).sum()


def test_the_hash_alone_splits_it(corpus):
    groups = corpus["group"].unique()
    splits = splits_of(groups, 0, 0.05, 0.05)
    for group, split in zip(groups, splits, strict=True):
        position = position_of(group, 0)
        by_hash = (
            "test" if position < 0.05 else "validation" if position < 0.1 else "train"
        )
        assert split == by_hash


def test_the_origin_pins_the_texts_and_names_the_licence(corpus):
    origin = corpus_origin()
    assert origin == corpus_origin()
    assert origin.source == "builtin"
    assert origin.licence == "PSF-2.0"
    assert origin.documents == len(corpus)
    assert len(origin.corpus_sha256) == 64


def test_the_hash_changes_with_any_text(corpus, monkeypatch):
    before = corpus_origin().corpus_sha256
    changed = corpus.with_columns(pl.col("text").str.replace("Decode a", "Decode the"))
    monkeypatch.setattr(builtin_corpus, "read_corpus", lambda: changed)
    assert corpus_origin().corpus_sha256 != before


def test_the_order_of_the_file_system_does_not_matter(library, monkeypatch):
    for name in "cab":
        write(library / f"{name}.py", f'"""{name} {LONG}"""')
    expected = read_corpus_of(library)
    listed = Path.iterdir

    def reversed_iterdir(folder):
        return iter(sorted(listed(folder), reverse=True))

    monkeypatch.setattr(Path, "iterdir", reversed_iterdir)
    assert read_corpus_of(library).equals(expected)
    assert len(expected) == 5


def test_every_kind_of_docstring_is_read_under_its_dotted_name(library):
    write(
        library / "pack/mod.py",
        f'''
class Outer:
    """Outer {LONG}"""
    class Inner:
        async def wait(self):
            """Wait {LONG}"""
if True:
    def twice():
        """First {LONG}"""
else:
    def twice():
        """Second {LONG}"""
def short():
    """Short."""
def assigned():
    text = """Not a docstring {LONG}"""
''',
    )
    found = {key for key in texts_by_id(library) if key.startswith("stdlib/pack")}
    assert found == {
        "stdlib/pack/mod.py:Outer",
        "stdlib/pack/mod.py:Outer.Inner.wait",
        "stdlib/pack/mod.py:twice",
        "stdlib/pack/mod.py:twice#2",
    }


def test_texts_are_dedented_composed_and_without_trailing_blanks(library):
    source = (
        f'def f():\n    """Cafe\\u0301 {LONG}\n\n      code  \n    end   \n\n    """'
    )
    write(library / "one.py", source)
    text = texts_by_id(library)["stdlib/one.py:f"]
    assert text == f"Caf\u00e9 {LONG.strip()}\n\n  code\nend"


def test_equal_texts_are_kept_once_whatever_their_white_space(library):
    write(library / "a.py", f'"""Same {LONG}"""')
    write(library / "b.py", f'"""Same\n{LONG}"""')
    ids = texts_by_id(library)
    assert "stdlib/a.py" in ids
    assert "stdlib/b.py" not in ids


def test_the_build_date_of_the_topics_is_left_out(library):
    assert not [text for text in texts_by_id(library).values() if "Monday" in text]


def test_generated_files_and_excluded_folders_are_left_out(library):
    before = texts_by_id(library)
    for name in (
        "test/a.py",
        "unittest/test/a.py",
        "site-packages/x/a.py",
        "idlelib/a.py",
    ):
        write(library / name, f'"""{name} {LONG}"""')
    write(library / "_sysconfigdata_linux.py", f'"""{LONG}"""')
    write(library / "config-3.11/a.py", f'"""{LONG}"""')
    write(library / "token.py", f'# Auto-generated by a tool\n"""{LONG}"""')
    assert texts_by_id(library) == before


@pytest.mark.parametrize("missing", ["json/decoder.py", "pydoc_data/topics.py"])
def test_missing_sources_are_named_with_their_folder(library, missing):
    (library / missing).unlink()
    with pytest.raises(RetuneError, match="full Python installation") as error:
        read_corpus_of(library)
    assert missing in str(error.value)
    assert str(library) in str(error.value)


def test_a_library_in_a_zip_file_is_an_error(tmp_path):
    with pytest.raises(RetuneError, match=r"python311\.zip lacks"):
        read_corpus_of(tmp_path / "python311.zip")


def test_a_broken_source_file_is_named(library):
    write(library / "broken.py", "def f(:")
    with pytest.raises(RetuneError, match=r"broken\.py: not readable .* line 1"):
        read_corpus_of(library)


def test_reading_it_needs_no_torch_and_imports_no_module_it_reads():
    code = (
        "import sys, retune.steps.prepare; from retune.sources import builtin_corpus;"
        "builtin_corpus.training_texts();"
        "print([m for m in ('torch', 'transformers', 'turtle', 'pydoc_data.topics')"
        " if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(Path(builtin_corpus.__file__).parents[2])},
    )
    assert done.stdout.strip() == "[]"
