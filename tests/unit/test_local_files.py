"""Which files a user's words stand for, and what becomes of those of every format."""

import bz2
import gzip
import lzma
import os
import subprocess
import sys

import pyarrow as pa
import pytest

from download_case import download_texts, parquet, refusal_of, rows_of
from retune.errors import RetuneError
from retune.settings import DatasetSettings
from retune.settings.params import read_params
from retune.sources.local_sources import find_local_sources
from retune.steps import download

CONTENTS = {
    ".jsonl": b'{"text": "one"}\n{"text": "two"}\n',
    ".json": b'[{"text": "one"},\n {"text": "two"}]\n',
    ".parquet": parquet(text=["one", "two"]),
    ".csv": b"text\none\ntwo\n",
    ".tsv": b"by\ttext\na\tone\n\ttwo\n",
    ".txt": b"one\ntwo\n",
}
COMPRESS = {
    "": bytes,
    ".gz": gzip.compress,
    ".zst": lambda content: pa.compress(content, codec="zstd", asbytes=True),
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The folder in which the user stands."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("compressed", COMPRESS)
@pytest.mark.parametrize("ending", CONTENTS)
@pytest.mark.parametrize("change", [str, str.upper, str.title])
def test_a_file_of_every_ending_is_read_however_it_is_written(
    folder, ending, compressed, change
):
    name = "my.data" + change(ending + compressed)
    (folder / name).write_bytes(COMPRESS[compressed](CONTENTS[ending]))
    _, texts = download_texts(name)
    assert texts == (["one\ntwo\n"] if ending == ".txt" else ["one", "two"])


@pytest.mark.parametrize("compressed", COMPRESS)
def test_a_compressed_file_is_told_by_its_first_bytes(folder, compressed):
    content = COMPRESS[compressed](CONTENTS[".jsonl"])
    (folder / "x.jsonl").write_bytes(content)
    (folder / "y.jsonl.zst").write_bytes(content)
    assert download_texts("*")[1] == ["one", "two"] * 2


@pytest.mark.parametrize("compressed", [".gz", ".zst", ".bz2", ".xz"])
@pytest.mark.parametrize("ending", [".jsonl", ".txt", ".parquet"])
def test_a_compressed_file_that_is_cut_off_is_refused(folder, ending, compressed):
    content = b"".join(os.urandom(50).hex().encode() + b"\n" for _ in range(2000))
    whole = COMPRESS[compressed](content)
    (folder / f"x{ending}").write_bytes(whole[: len(whole) // 2])
    assert refusal_of(f"x{ending}").startswith(f"dataset.files: x{ending}")


@pytest.mark.parametrize(
    "dataset",
    [
        "x.jsonl",
        {"source": "local", "files": "x.jsonl"},
        {"source": "local", "files": ["x.jsonl"]},
        {"source": "local", "files": {"train": "x.jsonl"}},
        {"source": "local", "files": {"train": ["x.jsonl"]}},
    ],
)
def test_one_file_may_be_named_in_short(dataset):
    settings = DatasetSettings.model_validate(dataset)
    assert settings.files == {"train": ["x.jsonl"]}
    assert DatasetSettings.model_validate_json(settings.model_dump_json()) == settings


@pytest.mark.parametrize("files", [5, True, {"train": 5}, {"train": ["a", 5]}])
def test_what_names_no_file_is_refused_when_the_settings_are_read(files):
    with pytest.raises(RetuneError, match=r"dataset.files.*5|True"):
        read_params({"dataset": {"source": "local", "files": files}, "model": "gpt2"})


@pytest.mark.parametrize(
    "name", ["texts/", "./texts", "texts", "texts/*.txt", "texts/**/*.TXT", "te?ts/*"]
)
def test_a_folder_or_a_glob_may_stand_for_the_dataset(folder, name):
    (folder / "texts").mkdir()
    for number in range(2):
        (folder / f"texts/{number}.txt").write_text(f"line\nof {number}")
    (folder / "texts/2.TXT").write_text("upper case")
    texts = ["line\nof 0", "line\nof 1", "upper case"]
    wanted = {"texts/*.txt": texts[:2], "texts/**/*.TXT": texts[2:]}
    assert download_texts(name)[1] == wanted.get(name, texts)


@pytest.mark.parametrize("name", ["no/such/", "./none", "~/none", "no*", "/none"])
def test_a_path_that_is_not_there_is_named(folder, name):
    assert refusal_of(name) == f"dataset.files.train: no file matches {name}"


@pytest.mark.parametrize("name", ["text", "Salesforce/texts", "wikitexts", "a" * 300])
def test_a_word_that_is_no_path_stays_no_short_name(name):
    with pytest.raises(RetuneError, match=f"{name}' is no known short name"):
        read_params({"dataset": name, "model": "gpt2"})


def test_a_short_name_is_no_folder(folder):
    (folder / "wikitext").mkdir()
    assert DatasetSettings.model_validate("wikitext").source == "hub"
    assert DatasetSettings.model_validate("./wikitext").source == "local"


def test_a_folder_gives_all_its_texts_in_order_but_hidden_ones(folder):
    for name in ("b.txt", "a/z.JSONL.gz", "a/.git/x.txt", ".x.txt", "c/d/y.csv"):
        (folder / "texts" / name).parent.mkdir(parents=True, exist_ok=True)
        ending = name.partition(".")[2].lower()
        content = CONTENTS.get(f".{ending}", gzip.compress(CONTENTS[".jsonl"]))
        (folder / "texts" / name).write_bytes(content)
    done, texts = download_texts("texts")
    assert texts == ["one", "two", "one\ntwo\n", "one", "two"]
    assert done.endswith("kB of parquet; 1 .txt file, one document each")


def test_what_a_folder_holds_beside_texts_is_told(folder, caplog):
    (folder / "texts").mkdir()
    for name in ("README.md", "a.pdf", "b.pdf", "c.pdf", "x.txt"):
        (folder / "texts" / name).write_text("text")
    done, texts = download_texts("texts")
    assert texts == ["text"]
    assert done.endswith(
        "; no text and left out: texts/README.md, texts/a.pdf, texts/b.pdf and 1 more"
    )
    assert "texts/b.pdf, texts/c.pdf" in caplog.text


def test_a_folder_without_texts_is_refused(folder):
    (folder / "texts").mkdir()
    (folder / "texts/a.pdf").touch()
    assert refusal_of("texts") == (
        "dataset.files.train: texts holds no file that ends in .jsonl, .json, .parquet,"
        " .csv, .tsv, .txt (and .gz, .zst, .bz2, .xz after it)"
    )


def test_what_a_glob_finds_beside_texts_is_refused(folder):
    (folder / "x.txt").touch()
    (folder / "README.md").touch()
    assert refusal_of("*").startswith("dataset.files.train: README.md should end in ")


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("books/*", ["a", "c", "d"]),
        ("books/b*", ["c", "d"]),
        ("books/*/", ["c", "d"]),
        ("bo*", ["a", "c", "d"]),
        ("books/**", ["a", "c", "d"]),
        ("books/b1/**/*", ["c", "d"]),
        ("books/*.txt", ["a"]),
    ],
)
def test_a_folder_that_a_glob_matches_counts_with_all_below_it(folder, name, wanted):
    for place in ("books/a.txt", "books/b1/c.txt", "books/b1/x/d.txt"):
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_text((folder / place).stem)
    (folder / "books/images").mkdir()
    done, texts = download_texts(name)
    assert texts == wanted
    assert "left out" not in done


def test_what_a_folder_of_a_glob_holds_beside_texts_is_told(folder):
    (folder / "books/b1").mkdir(parents=True)
    (folder / "books/b1/a.pdf").touch()
    assert refusal_of("books/b*").startswith(
        "dataset.files.train: books/b* holds no file that ends in .jsonl"
    )
    (folder / "books/a.txt").write_text("text")
    assert download_texts("books/*")[0].endswith("left out: books/b1/a.pdf")


@pytest.mark.parametrize("name", ["data", "data/", "d*", "data/**/*"])
def test_what_a_step_has_made_is_no_data_of_the_user_s(folder, name):
    (folder / "data").mkdir()
    (folder / "data/mine.jsonl").write_bytes(CONTENTS[".jsonl"])
    # Another tool's, which says nothing of ours.
    (folder / "data/manifest.json").write_text('[{"text": "three"}]')
    settings = DatasetSettings.model_validate(name)
    for _ in range(2):
        download.run(settings, folder / "data/raw")
        texts = [text for _, _, text in rows_of(folder / "data/raw")]
        assert texts == ["three", "one", "two"]


@pytest.mark.parametrize("name", [".", "./", "..", "*/.."])
def test_the_folder_of_the_run_is_no_dataset(folder, name):
    (folder / "more").mkdir()
    (folder / "one.txt").write_text("one")
    settings = DatasetSettings.model_validate(name)
    with pytest.raises(RetuneError, match="holds the run itself: give the texts a fo"):
        download.run(settings, folder / "raw")


def test_an_empty_text_names_nothing(folder):
    (folder / "one.txt").write_text("one")
    with pytest.raises(RetuneError, match="'' is no known short name"):
        read_params({"dataset": "", "model": "builtin"})
    with pytest.raises(RetuneError, match="model: '' is no known short name"):
        read_params({"dataset": "builtin", "model": ""})
    for files in ("", [""], {"train": ["one.txt", ""]}):
        params = read_params({"dataset": {"files": files}, "model": "builtin"})
        with pytest.raises(RetuneError, match="train: an empty text names no file"):
            find_local_sources(params)


def test_links_in_a_folder_are_followed_once(folder):
    (folder / "elsewhere").mkdir()
    (folder / "elsewhere/x.txt").write_text("there")
    (folder / "texts").mkdir()
    (folder / "texts/a").symlink_to("../elsewhere")
    (folder / "texts/b").symlink_to("../elsewhere")
    (folder / "texts/round").symlink_to(".")
    (folder / "texts/y.txt").symlink_to("../elsewhere/x.txt")
    assert download_texts("texts")[1] == ["there", "there"]


@pytest.mark.parametrize("name", ["texts", "texts/*", "texts/**"])
def test_texts_that_are_links_to_nothing_are_refused_all_at_once(folder, name):
    (folder / "texts").mkdir()
    (folder / "texts/x.txt").write_text("text")
    for link in ("y.txt", "z.JSONL.gz"):
        (folder / "texts" / link).symlink_to("nowhere")
    assert refusal_of(name) == (
        "dataset.files.train: texts/y.txt is a link to nothing\n"
        "dataset.files.train: texts/z.JSONL.gz is a link to nothing"
    )


@pytest.mark.parametrize("name", ["texts", "texts/*"])
def test_other_links_to_nothing_are_left_out(folder, name):
    (folder / "texts").mkdir()
    (folder / "texts/x.txt").write_text("text")
    for link in ("latest", "notes.md"):
        (folder / "texts" / link).symlink_to("nowhere")
    done, texts = download_texts(name)
    assert texts == ["text"]
    assert done.endswith("; no text and left out: texts/latest, texts/notes.md")


@pytest.mark.parametrize(
    ("settings", "texts", "told"),
    [
        ({}, ["a\n\nb\n", "c"], "2 .txt files, one document each"),
        (
            {"txt_documents": "line"},
            ["a", "", "b", "c"],
            "2 .txt files, one document per line",
        ),
        (
            {"document_start": "^[ac]"},
            ["a\n\nb", "c"],
            "2 .txt files, documents by document_start",
        ),
    ],
)
def test_the_result_says_what_a_document_of_txt_is(folder, settings, texts, told):
    (folder / "x.txt").write_text("a\n\nb\n")
    (folder / "y.txt").write_text("c")
    done, found = download_texts({"source": "local", "files": "*.txt", **settings})
    assert found == texts
    assert done.endswith(f"; {told}")


def test_a_single_document_is_no_documents(folder):
    (folder / "x.txt").write_text("text")
    assert download_texts("x.txt")[0].startswith("train 1 document, ")


def test_without_txt_files_nothing_is_said_of_them(folder):
    (folder / "x.jsonl").write_bytes(CONTENTS[".jsonl"])
    done, _ = download_texts("x.jsonl")
    assert done.startswith("train 2 documents, ")
    assert done.endswith("kB of parquet")


def test_lines_of_txt_on_the_hub_are_documents_and_no_setting_makes_them_others():
    section = {"source": "hub", "name": "a/b", "revision": "0" * 40}
    with pytest.raises(RetuneError, match="txt_documents goes with source: local"):
        read_params({"dataset": section | {"txt_documents": "line"}, "model": "gpt2"})


def test_a_new_file_of_a_folder_or_a_glob_is_one_more_source(folder):
    (folder / "texts").mkdir()
    (folder / "texts/a.txt").touch()
    for dataset in ("texts", "texts/*"):
        params = read_params({"dataset": dataset, "model": "builtin"})
        before = find_local_sources(params)["dataset"]
        new = folder / f"texts/{len(before)}.jsonl"
        new.touch()
        assert set(find_local_sources(params)["dataset"]) - {*before} == {
            f"texts/{new.name}"
        }


def test_a_txt_file_too_long_for_one_document_names_what_cuts_it(folder, monkeypatch):
    from retune.sources import text_lines

    monkeypatch.setattr(text_lines, "MOST_CHARACTERS", 5)
    (folder / "x.txt").write_text("12345")
    assert download_texts("x.txt")[1] == ["12345"]
    (folder / "y.txt").write_text("123456")
    with pytest.raises(RetuneError) as caught:
        download_texts("y.txt")
    assert str(caught.value) == (
        "dataset.files: y.txt holds more than 5 characters, too many for one document:"
        " dataset.txt_documents: line makes each line one, dataset.document_start each"
        " part"
    )


def test_finding_the_files_loads_no_library_that_reads_them(folder):
    (folder / "x.jsonl").write_bytes(CONTENTS[".jsonl"])
    code = (
        "import sys; from retune.settings.params import read_params;"
        " from retune.sources.file_hashes import list_with_md5;"
        " from retune.sources.local_sources import find_local_sources;"
        " params = read_params({'dataset': 'x.jsonl', 'model': 'gpt2'});"
        " files = find_local_sources(params)['dataset'];"
        " assert list_with_md5(files).endswith('x.jsonl\\n');"
        " print({'pyarrow', 'polars', 'torch', 'datasets'} & set(sys.modules))"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": ":".join(path for path in sys.path if path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert printed.stdout == "set()\n"
