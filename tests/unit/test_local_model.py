"""A folder that is no model as it is read here is called what it is."""

import json
import os

import pytest

from retune.errors import RetuneError
from retune.settings import ModelSettings
from retune.settings.params import read_params
from retune.sources.local_sources import find_local_sources


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The folder in which the user stands."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path


@pytest.fixture
def refusal_of(folder):
    """Return a function from the files of a model's folder to the error."""

    def refuse(*names, **contents):
        mine = folder / "mine"
        mine.mkdir()
        for name in names:
            (mine / name).write_text(contents.get(name.partition(".")[0], ""))
        with pytest.raises(RetuneError) as caught:
            files_of("./mine")
        return str(caught.value)

    return refuse


def files_of(model):
    return find_local_sources(read_params({"dataset": "builtin", "model": model}))[
        "model"
    ]


@pytest.mark.parametrize("name", ["./mine", "mine", "mine/", "~/mine", "../x/mine"])
def test_a_folder_may_stand_for_the_model(folder, name):
    here = {"~/mine": "home/mine", "../x/mine": "../x/mine"}.get(name, "mine")
    (folder / here).mkdir(parents=True)
    for file in ("config.json", "model.safetensors"):
        (folder / here / file).touch()
    settings = ModelSettings.model_validate(name)
    assert (settings.source, settings.folder) == ("local", name)
    assert [path.rpartition("/")[2] for path in files_of(name)] == [
        "config.json",
        "model.safetensors",
    ]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")
@pytest.mark.parametrize("is_here_readable", [True, False])
def test_a_folder_that_may_not_be_read_is_told(folder, is_here_readable):
    (folder / "mine").mkdir(mode=0o700)
    if is_here_readable:
        os.chown(folder, 65534, -1)
    os.seteuid(65534)
    try:
        with pytest.raises(RetuneError, match="mine cannot be read: Permission denied"):
            files_of("./mine")
    finally:
        os.seteuid(0)


def test_a_short_name_is_no_folder(folder):
    (folder / "gpt2").mkdir()
    assert ModelSettings.model_validate("gpt2").source == "hub"
    assert ModelSettings.model_validate("./gpt2").source == "local"


@pytest.mark.parametrize("name", ["gtp2", "Qwen/Qwen3-0.6B", "a" * 300])
def test_a_word_that_is_no_path_stays_no_short_name(folder, name):
    with pytest.raises(RetuneError, match=f"{name}' is no known short name"):
        files_of(name)


def test_a_folder_that_is_not_there_and_a_file_are_called_that(folder):
    with pytest.raises(RetuneError, match=r"^model.folder: mine is not there$"):
        files_of("./mine")
    (folder / "mine").touch()
    with pytest.raises(RetuneError, match="model.folder: mine is a file, and not a fo"):
        files_of("./mine")


@pytest.mark.parametrize(
    "names",
    [
        ["pytorch_model.bin"],
        ["pytorch_model-00001-of-00002.bin", "pytorch_model.bin.index.json"],
        ["pytorch_model.bin", "training_args.bin", "tokenizer.json"],
    ],
)
def test_a_folder_of_pickles_is_refused_with_what_converts_it(refusal_of, names):
    sentence, command = refusal_of("config.json", *names).splitlines()
    assert sentence == (
        f"model.folder: mine holds its weights in {names[0]}, a pickle, which is never"
        " loaded; this writes model.safetensors beside it:"
    )
    assert command.startswith("  (cd mine && python -c ")


@pytest.mark.parametrize(
    "name", ["model.ckpt", "weights.pt", "consolidated.00.pth", "PYTORCH_MODEL.BIN"]
)
def test_a_folder_of_other_pickles_names_what_writes_safetensors(refusal_of, name):
    assert refusal_of("config.json", name) == (
        f"model.folder: mine holds its weights in {name}, a pickle, which is never"
        " loaded: save the model with save_pretrained of Transformers, which writes"
        " safetensors"
    )


@pytest.mark.parametrize(
    "others", [[], ["optimizer.pt"], ["pytorch_model.bin"], ["adapter_config.json"]]
)
def test_shards_without_their_index_are_refused_as_that(refusal_of, others):
    shards = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    assert refusal_of("config.json", *shards, *others) == (
        "model.folder: mine holds model-00001-of-00002.safetensors and no"
        " model.safetensors.index.json, which says what is in which of its files: copy"
        " it from where these come from"
    )


@pytest.mark.parametrize(
    ("names", "instead"),
    [
        ([], ""),
        (["tokenizer.json", "optimizer.pt", "rng_state_0.pth"], ""),
        (["training_args.bin", "Scheduler.PT"], ""),
        (["tf_model.h5"], ", but tf_model.h5, which is not read"),
        (["flax_model.msgpack"], ", but flax_model.msgpack, which is not read"),
        (["MODEL.safetensors"], ", but MODEL.safetensors, which is not read"),
    ],
)
def test_a_folder_without_weights_is_refused(refusal_of, names, instead):
    assert refusal_of("config.json", *names) == (
        "model.folder: mine holds no weights: neither model.safetensors nor"
        f" model.safetensors.index.json{instead}"
    )


@pytest.mark.parametrize("others", [[], ["config.json"]])
def test_a_folder_of_gguf_is_refused(refusal_of, others):
    assert refusal_of("x-Q4_K_M.gguf", *others) == (
        "model.folder: mine holds x-Q4_K_M.gguf, and GGUF is a format for running"
        " models: take the model that it was made from, as safetensors"
    )


@pytest.mark.parametrize(
    ("config", "owner"),
    [
        (json.dumps({"base_model_name_or_path": "team/base"}), " of team/base"),
        ("{}", ""),
        ("damaged", ""),
    ],
)
@pytest.mark.parametrize(
    "others", [["adapter_model.safetensors"], ["adapter_model.bin", "config.json"]]
)
def test_a_folder_that_holds_only_an_adapter_is_refused(
    refusal_of, config, owner, others
):
    assert refusal_of("adapter_config.json", *others, adapter_config=config) == (
        f"model.folder: mine holds only an adapter{owner} (adapter_config.json), and no"
        " model: name the model itself, or merge the two first (merge_and_unload of"
        " peft)"
    )


@pytest.mark.parametrize(
    "others",
    [
        ["pytorch_model.bin"],
        ["x.gguf"],
        ["adapter_config.json", "adapter_model.safetensors"],
    ],
)
@pytest.mark.parametrize(
    "weights", ["model.safetensors", "model.safetensors.index.json"]
)
def test_other_formats_beside_safetensors_do_not_matter(folder, others, weights):
    (folder / "mine").mkdir()
    for name in ["config.json", weights, *others]:
        (folder / "mine" / name).touch()
    assert len(files_of("./mine")) == 2 + len(others)
