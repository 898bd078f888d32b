"""The model card: read by the hub, by people, and never a way in for markup."""

import html
import re
from dataclasses import replace

import pytest
import yaml
from huggingface_hub import ModelCard

from finished_run import FinishedRun
from retune.artifacts.origins import DataOrigin, FileEntry, ModelOrigin
from retune.artifacts.provenance import Provenance
from retune.artifacts.training_operations import TrainingOperations
from retune.reporting.escaping import to_html, to_markdown
from retune.reporting.figures import drawings_of
from retune.reporting.model_card import write_card
from retune.reporting.page import render_page
from retune.reporting.titles import title_of_chat_template
from retune.settings import ModelSettings

HUB = {
    "dataset": "wikitext",
    "model": {"source": "hub", "name": "owner/model", "revision": "a" * 40},
}
PROVENANCE = Provenance(
    workflow="c0ffee",
    params="f00d",
    packages={"torch": "2.13.0"},
    machine={"CPU": "2 x <b>CPU</b>"},
)
LOCAL_MODEL = ModelOrigin(source="local", sources=())


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    hostile = (
        "| a\n\n# Title\n<script>x</script> [l](http://x.example) `c` www.x.example"
    )
    return FinishedRun(tmp_path_factory.mktemp("run")).make(tuned=hostile)


def card_of(run, **sections):
    return write_card(run.read(**sections), PROVENANCE)


def front_matter(card):
    return yaml.safe_load(card.split("---\n")[1])


def test_the_front_matter_names_base_model_and_dataset_of_the_hub(run):
    values = front_matter(card_of(run, **HUB))
    assert values["library_name"] == "transformers"
    assert values["pipeline_tag"] == "text-generation"
    assert values["base_model"] == "owner/model"
    assert values["datasets"] == ["Salesforce/wikitext"]


def test_what_is_not_on_the_hub_is_not_named_as_if_it_were(run):
    local = run.read(model={"source": "local", "folder": "/models/mine/"})
    card = write_card(replace(local, base=LOCAL_MODEL), PROVENANCE)
    assert not {"base_model", "datasets"} & set(front_matter(card))
    assert "# mine fine-tuned on" in card


def test_the_model_index_has_what_was_measured_and_no_more(run):
    (index,) = front_matter(card_of(run, **HUB))["model-index"]
    metrics = {m["name"]: m["value"] for m in index["results"][0]["metrics"]}
    assert metrics == {"Bits per byte": 2.5, "Token perplexity": 4000.0}


def test_the_hub_s_own_reader_reads_the_card(run):
    data = ModelCard(card_of(run, **HUB)).data
    assert data.base_model == "owner/model"
    assert data.model_name.startswith("owner/model fine-tuned on Salesforce/wikitext")
    values = {each.metric_name: each.metric_value for each in data.eval_results}
    assert values == {"Bits per byte": 2.5, "Token perplexity": 4000.0}


@pytest.mark.parametrize("in_4bit", [True, False])
def test_the_card_says_which_weights_the_adapters_belong_to(run, in_4bit):
    card = card_of(run, **HUB, finetune={"lora": {"load_in_4bit": in_4bit}})
    (told,) = (line for line in card.splitlines() if "`adapter/` holds" in line)
    assert "for owner/model in " in told
    assert ("held in 4 bits" in told) == in_4bit
    assert "adapter/" not in card_of(run, **HUB)


def test_the_builtin_model_is_not_for_use_and_others_do_not_say_so(run):
    assert "**Not for use.**" in card_of(run)
    assert "Not for use" not in card_of(run, **HUB)


def test_the_settings_can_be_read_back(run):
    card = card_of(run, **HUB, sample={"prompts": ["</code></pre>", "```\n\n# x"]})
    (text,) = re.findall(r"<pre><code>(.*?)</code></pre>", card, re.DOTALL)
    settings = yaml.safe_load(html.unescape(text))
    assert settings["model"]["name"] == "owner/model"
    assert settings["sample"]["prompts"] == ["</code></pre>", "```\n\n# x"]


def test_revisions_checksums_and_machine_are_recorded(run):
    card = card_of(run, **HUB)
    assert f"owner/model at {'a' * 40}" in card
    assert "| commit of the workflow | c0ffee |" in card
    assert "| commit of params.yaml | f00d |" in card
    assert "2 x &#60;b&#62;CPU" in card
    for digest in run.read().manifest_sha256.values():
        assert digest in card


def test_the_users_own_files_are_named_with_their_checksums(run):
    data = {"source": "local", "files": {"train": ["letters/*.txt"]}}
    model = {"source": "local", "folder": "/home/somebody/mine/"}
    results = replace(
        run.read(dataset=data, model=model),
        raw=DataOrigin(
            source="local",
            sources={
                "train": tuple(
                    entry(f"letters/{i:02}.txt", f"{i:064}") for i in range(25)
                ),
                "test": (entry("/home/somebody/held_out.txt", "b" * 64),),
            },
        ),
        base=ModelOrigin(
            source="local", sources=(entry("model.safetensors", "c" * 64),)
        ),
    )
    table = write_card(results, PROVENANCE).split("## Provenance")[1]
    table = html.unescape(table.split("<details>")[0])
    assert f"| sha256 of letters/00.txt (train) | {0:064} |" in table
    assert f"| sha256 of letters/19.txt (train) | {19:064} |" in table
    assert "letters/20.txt" not in table
    assert "| 5 more files (train) | see data/raw/manifest.json |" in table
    assert f"| sha256 of held_out.txt (test) | {'b' * 64} |" in table
    assert f"| sha256 of model.safetensors (mine) | {'c' * 64} |" in table
    assert "somebody" not in table


def test_card_and_page_say_nothing_of_the_folders_of_a_machine(run):
    train = ["letters/*.txt", "/home/somebody/x.txt", "../somebody/y", "~/somebody/z/"]
    results = replace(
        run.read(
            dataset={"source": "local", "files": {"train": train}},
            model={"source": "local", "folder": "/home/somebody/mine/"},
        ),
        raw=DataOrigin(source="local", sources={}),
        base=LOCAL_MODEL,
    )
    card = write_card(results, PROVENANCE)
    page = render_page(results, PROVENANCE, TrainingOperations(), drawings_of(results))
    for text, start in ((card, "<pre><code>"), (page, '<pre class="settings">')):
        assert "somebody" not in text
        (shown,) = re.findall(rf"{start}\s*(dataset:.*?)<", text, re.DOTALL)
        settings = yaml.safe_load(html.unescape(shown))
        files = settings["dataset"]["files"]["train"]
        assert files == ["letters/*.txt", "x.txt", "y", "z"]
        assert settings["model"]["folder"] == "mine"


def entry(path, sha256):
    return FileEntry(path=path, size=1, sha256=sha256)


def test_the_learning_rate_is_the_one_that_was_used(run):
    card = card_of(run, finetune={"learning_rate": 0.5})
    assert "0.002 at its peak" in card


def test_text_of_a_model_stays_one_cell_of_plain_text(run):
    (row,) = [line for line in card_of(run).splitlines() if line.startswith("| Once")]
    assert row.count("|") == 4
    assert not re.search(r"[<>`#\[]", row.replace("&#", ""))
    assert "http:" not in row
    assert "www." not in row
    assert html.unescape(row).endswith(
        "| | a↵ ↵ # Title↵ <script>x</script> [l](http://x.example) `c` www.x.example |"
    )


def test_the_example_is_python_whatever_the_prompt(tmp_path):
    card = card_of(FinishedRun(tmp_path).make(prompt="it's \"\n```"))
    (code,) = re.findall(r"```python\n(.*?)\n```\n", card, re.DOTALL)
    compile(code, "card", "exec")


@pytest.fixture(scope="module")
def chat(tmp_path_factory):
    run = FinishedRun(tmp_path_factory.mktemp("chat"))
    return run.make(has_answers=True, prompt="it's \"\n", reference="| <b>\nIt is.")


def test_the_card_of_conversations_shows_how_to_ask(chat):
    card = card_of(chat)
    (code,) = re.findall(r"```python\n(.*?)\n```\n", card, re.DOTALL)
    compile(code, "card", "exec")
    assert '{"role": "user", "content": \'it\\\'s "\\n\'}' in code
    assert "It answers in a conversation" in card_of(chat, **HUB)


def test_the_card_of_conversations_says_what_they_are_and_what_is_trained(chat):
    template = {**HUB["model"], "chat_template": "/home/somebody/mine.jinja"}
    card = html.unescape(card_of(chat, dataset="wikitext", model=template))
    assert "| format of the rows | messages |" in card
    assert "| chat template | mine.jinja |" in card
    assert "| trained | all turns of the assistant: 40.0 % of the tokens |" in card
    assert "| split | conversations |" in card
    assert "| train | 1 to 4 | 2.5 | 80 | 20 (50.0 %) | none | 1 (2.5 %) |" in card
    assert "| bits per byte of the answers | 3.000 | 2.500 |" in card
    assert "somebody" not in card


def test_the_answer_of_the_data_is_one_cell_of_plain_text(chat):
    (row,) = [each for each in card_of(chat).splitlines() if each.startswith("| it")]
    assert row.count("|") == 5
    assert html.unescape(row).endswith("| | <b>↵ It is. |")
    assert "| question | base | tuned | the data |" in card_of(chat)


def test_how_often_the_very_answer_is_given_is_a_measure_of_the_hub(chat):
    (index,) = front_matter(card_of(chat, **HUB))["model-index"]
    metrics = {m["name"]: m["value"] for m in index["results"][0]["metrics"]}
    assert metrics["Bits per byte of the answers"] == 2.5
    assert metrics["Exact match"] == 0.625


@pytest.mark.parametrize(
    ("template", "title"),
    [
        ("auto", "the base model's own"),
        ("chatml", "chatml, which is built in"),
        ("../somebody/x.jinja", "x.jinja"),
    ],
)
def test_the_chat_template_has_a_title(template, title):
    model = ModelSettings(source="builtin", chat_template=template)
    assert title_of_chat_template(model) == title


@pytest.mark.parametrize("char", ["\x00", "\x1b", "\u202e", "\u2028", "\ud800", "\r"])
def test_what_cannot_be_seen_is_written_out(char):
    for shown in (to_html(f"a{char}b"), html.unescape(to_markdown(f"a{char}b"))):
        assert char not in shown
        assert "\\" in shown
