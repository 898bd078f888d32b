"""The step `report`: what it publishes, whatever the run was like."""

import base64
import hashlib
import re
import subprocess
import sys
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest

from finished_run import (
    FinishedRun,
    changed,
    data_metrics,
    evaluation,
    plan,
    tokens_card,
)
from retune.artifacts.evaluation_metrics import ExactMatch, ExactMatches, NoComparison
from retune.artifacts.tokens_card import Piece
from retune.artifacts.training_operations import Operation, TrainingOperations
from retune.errors import RetuneError
from retune.planning.score import PhaseScore, Score
from retune.reporting.evaluation_figures import change_title, evenly
from retune.reporting.evaluation_rows import evaluation_rows
from retune.reporting.lengths_figure import lengths_title
from retune.reporting.row_html import piece_html, row_html
from retune.reporting.summary import summary_lines
from retune.reporting.training_figures import (
    clipping_title,
    loss_title,
    running_mean,
)
from retune_dvc.stages import read_stages
from retune_workflow.manual import ROOT

RULES = (ROOT / "workflow/rules/evaluation.smk").read_text()
RULE = RULES.split("rule report:")[1].split("\nrule ")[0]
HOSTILE = "</pre><script>alert(1)</script><img src=https://x.example/y>\u202eabc"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return FinishedRun(tmp_path_factory.mktemp("run")).make(tuned=HOSTILE)


@pytest.fixture(scope="module")
def chat(tmp_path_factory):
    run = FinishedRun(tmp_path_factory.mktemp("chat"))
    run.make(has_answers=True, prompt="Who?", reference=HOSTILE)
    run.write_card(tokens_card(HOSTILE))
    return run


@pytest.fixture(scope="module")
def chat_page(chat):
    return (chat.report() / "report.html").read_text()


@pytest.fixture(scope="module")
def out(run):
    return run.report()


@pytest.fixture(scope="module")
def page(out):
    return (out / "report.html").read_text()


def test_every_output_of_the_rule_is_written_and_nothing_else(out):
    declared = re.findall(r'"(report[/.][^"]+)"', RULE)
    written = [*(out / "report").iterdir(), out / "report.html"]
    assert sorted(declared) == sorted(str(path.relative_to(out)) for path in written)


def test_dvc_keeps_the_page_and_the_figures():
    outs = read_stages(ROOT / "dvc.yaml")["report"].outs
    assert set(outs) == {"report", "report.html"}


def test_every_output_has_a_caption_and_one_label():
    results = RULE.count("=report(")
    captions = re.findall(r'caption="\.\./report/(\w+\.rst)"', RULE)
    assert len(captions) == results
    assert all((ROOT / "workflow/report" / name).stat().st_size for name in captions)
    assert len(re.findall(r'labels=\{"result": "[^"]+"\}', RULE)) == results


def test_figures_are_whole_pictures_without_a_date(out):
    for path in (out / "report").glob("*.svg"):
        assert ElementTree.parse(path).getroot().tag.endswith("}svg")
        assert "<dc:date>" not in path.read_text()


def test_the_same_run_gives_the_same_bytes(run, out):
    again = run.report("again")
    for path in [*(out / "report").iterdir(), out / "report.html"]:
        assert path.read_bytes() == (again / path.relative_to(out)).read_bytes()


def test_the_page_loads_nothing_and_runs_nothing(page):
    assert "default-src 'none'; img-src data:; style-src 'sha256-" in page
    loading = r"<(script|link|iframe|object|form)|url\(|@import|style="
    assert not re.search(loading, page)
    addresses = re.findall(r'(?:src|srcset|href)="([^"]*)"', page)
    assert addresses
    assert all(to.startswith(("data:image/svg+xml;", "#")) for to in addresses)


def test_the_policy_names_the_only_style_sheet_of_the_page(page):
    [style] = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in page


def test_markup_in_texts_stays_text(page):
    assert "&lt;script&gt;alert(1)" in page
    assert r"\u202eabc" in page
    assert "it &lt;fits&gt;" in page


def test_markup_in_the_data_stays_text(chat_page):
    rows = chat_page[chat_page.index('id="rows"') :]
    for text in (chat_page.partition("What the data has")[2], rows):
        assert text.partition("&lt;script&gt;alert(1)")[1]
        assert r"\u202eabc" in text
    assert not re.search("<(script|img src=http)", chat_page)


def test_the_page_of_conversations_speaks_of_these(chat_page):
    assert "Tuning lowered bits per byte of the answers on 7 test conversations" in (
        chat_page
    )
    for name, value in {
        "format of the rows": "messages",
        "columns": "conversations (as messages), system",
        "chat template": "the base model&#39;s own",
        "trained": "all turns of the assistant: 40.0 % of the tokens",
        "raw conversations": "58",
        "of these, for their answer": "1 from validation, 0 from test",
        "kept, though the question is similar to one of train": "0 in validation,"
        " 2 in test",
    }.items():
        assert row(name, value) in chat_page
    text = re.sub("<[^>]+>", " ", chat_page)
    cells = " ".join(text.split())
    assert "train 1 to 4 2.5 80 20 (50.0 %) none 1 (2.5 %)" in cells
    assert "train 40 800 40.0 % 40 10.0 % 3 dropped" in cells
    assert "of 8 short ones 12.5 % 62.5 % +50.0 points" in cells
    assert "each trained token of its answers exactly once" in cells
    assert "Latin 100.0 % Han &lt; 0.1 %" in cells


def test_the_page_of_texts_does_not_speak_of_answers(page):
    data = page.partition('id="data"')[2].partition('id="plan"')[0]
    assert not {"answers", "conversations", "chat"} & set(re.findall(r"\w+", data))
    assert "What the data has" not in page


def test_the_first_row_is_open_and_the_others_are_not(page):
    assert page.count('<details class="row" open>') == 1
    assert page.count('<details class="row">') == 1
    assert "Row 7 of 40: 60 tokens, 12 trained (20.0 %)" in page


@pytest.mark.parametrize(
    ("piece", "html"),
    [
        ({"text": "a<b"}, "<mark>a&lt;b</mark>"),
        ({"text": "a\n\nb"}, "<mark>a<i>↵</i>\n<i>↵</i>\nb</mark>"),
        ({"text": "a ", "use": "seen"}, "<span>a </span>"),
        ({"text": "a", "use": "left_out"}, "<s>a</s>"),
        ({"text": "<s>", "is_special": True}, "<mark><b>&lt;s&gt;</b></mark>"),
        (
            {"text": "a", "hidden": 1234, "ending": "b"},
            "<mark>a<small> … 1,234 more characters … </small>b</mark>",
        ),
        (
            {"text": "a", "begins_part": True},
            "\n<small>✂ cut: the model sees what follows by itself</small>"
            "\n<mark>a</mark>",
        ),
        ({"text": "\x1b[31m\u202e"}, r"<mark>\x1b[31m\u202e</mark>"),
    ],
)
def test_what_is_trained_is_marked_and_every_character_is_seen(piece, html):
    assert piece_html(Piece(**{"use": "trained", **piece})) == html


def test_a_row_says_how_much_of_it_is_not_shown():
    first, second = map(row_html, tokens_card().rows)
    assert "more tokens" not in first
    assert "40 more tokens" in second


def test_of_the_tokens_the_card_is_verified_and_nothing_large_is_read(tmp_path):
    run = FinishedRun(tmp_path).make()
    (tmp_path / "tokens/train.tokens.bin").write_bytes(b"tokenS")
    run.report()
    card = tmp_path / "tokens/card.json"
    card.write_text(card.read_text().replace("20.5", "20.6"))
    with pytest.raises(RetuneError, match=r"card\.json is not what tokenize wrote"):
        run.report()


@pytest.mark.parametrize(
    ("has_answers", "changes", "title"),
    [
        (
            True,
            {},
            "Half of the training conversations have at most 20 tokens; 4 (10.0 %)"
            " exceed a block of 32",
        ),
        (
            True,
            {"sequence_length": 64},
            "Half of the training conversations have at most 20 tokens, and all fit"
            " into a block of 64",
        ),
        # Packing `wrap` cuts anywhere.
        (False, {}, "Half of the training documents have at most 20 tokens"),
    ],
)
def test_the_title_of_the_lengths(tmp_path, has_answers, changes, title):
    run = FinishedRun(tmp_path).make(has_answers=has_answers)
    run.write_card(changed(tokens_card(), changes))
    assert lengths_title(run.read()) == title


def test_every_figure_is_in_the_page_for_wide_and_for_narrow_screens(out, page):
    images = re.findall(r"data:image/svg\+xml;base64,([^\"]+)", page)
    figures = [ElementTree.fromstring(base64.b64decode(image)) for image in images]
    assert len(figures) == 2 * len(list((out / "report").iterdir()))
    narrow, wide = (
        {float(each.get("width").removesuffix("pt")) for each in figures[start::2]}
        for start in (0, 1)
    )
    assert max(narrow) < min(wide)


def test_links_within_the_page_lead_somewhere_and_no_name_is_given_twice(page):
    names = re.findall(r'id="([^"]+)"', page)
    assert len(names) == len(set(names))
    assert set(re.findall(r'href="#([^"]+)"', page)) <= set(names)


def test_the_answer_comes_first(page):
    header = page[page.index("<header") : page.index("</header>")]
    assert "Better than the base model" in header
    assert "lowered bits per byte on 7 test documents from 3.00 to 2.50" in header
    assert "\N{MINUS SIGN}0.600 to \N{MINUS SIGN}0.400" in header
    assert "better than both floors" in header


def test_train_documents_that_are_held_out_are_told(page):
    assert "3: 2 of train are in validation or test" in page


@pytest.mark.parametrize(
    "changes",
    [{"steps": 1}, {"bits": 0.4}, {"bits": 0.0}, {"has_answers": True}],
    ids=str,
)
def test_unusual_runs_have_a_report_too(tmp_path, changes):
    out = FinishedRun(tmp_path).make(**changes).report()
    assert len(list((out / "report").iterdir())) == 7
    assert (out / "report.html").read_text().rstrip().endswith("</html>")


def test_a_validation_split_without_documents_is_an_empty_table(tmp_path):
    run = FinishedRun(tmp_path).make()
    metrics = changed(evaluation(-0.5), {"validation": NoComparison()})
    metrics.write(tmp_path / "evaluation.json", tmp_path / "tuned.parquet")
    page = (run.report() / "report.html").read_text()
    table = page.partition("On the validation split")[2].partition("</table>")[0]
    assert '<tr><th scope="row">' not in table


@pytest.mark.parametrize(
    ("bits", "says"),
    [(-0.5, "lowered"), (0.5, "raised"), (0.05, "No sure change"), (-0.1, "No sure")],
)
def test_the_title_is_as_sure_as_the_interval(bits, says):
    assert says in change_title(evaluation(bits).test)


def test_one_document_has_no_interval_and_nothing_is_sure():
    test = changed(evaluation(-0.5).test, {"tuned.documents": 1})
    assert "Too few documents" in change_title(test)
    assert evaluation_rows(test)[0][-1] == "-"


NAN = float("nan")


@pytest.mark.parametrize(
    ("norms", "limit", "title"),
    [
        ([0.5, 1.5, 2], 1, "clipped in 2 of 3 steps"),
        ([0.5, 1.5], 0, "not clipped"),
        ([NAN, NAN], 0, "not clipped"),
        ([NAN, NAN], 1, "clipped above a norm of 1; how often is unknown"),
        ([0.5, NAN, 1.5], 1, "clipped in 1 of 2 steps; unknown in 1 more"),
        ([0.5, float("inf")], 1, "clipped in 0 of 1 step; unknown in 1 more"),
    ],
)
def test_the_title_of_the_gradients_says_only_what_is_known(norms, limit, title):
    assert clipping_title(np.array(norms), limit).endswith(title)


def test_without_any_norm_there_is_a_report_too(tmp_path, recwarn):
    run = FinishedRun(tmp_path).make()
    history = tmp_path / "history.csv"
    history.write_text(
        history.read_text().replace(",1.5,", ",,").replace(",inf,", ",,")
    )
    run.write_finetune_metrics()
    figure = (run.report() / "report/optimization.svg").read_text()
    assert "how often is unknown" in figure
    assert "not known at ZeRO stage 0" in figure
    assert not [warning for warning in recwarn if warning.category is RuntimeWarning]


def test_what_took_longest_is_told_of_a_run_that_was_profiled(tmp_path, page):
    assert "took longest" not in page
    run = FinishedRun(tmp_path).make()
    slowest = Operation(
        name="aten::mm", calls_per_step=1234, seconds_per_step=0.25, share=0.5
    )
    TrainingOperations(
        first_step=5, steps=3, device="cuda", operations=(slowest,)
    ).write(tmp_path / "operations.json")
    run.write_finetune_metrics()
    page = (run.report() / "report.html").read_text()
    assert "in steps 5 to 7 of rank 0, on its GPU" in page
    row = page.split("What took longest")[-1].split("aten::mm")[1].split("</tr>")[0]
    assert re.findall(r"<td>(.*?)</td>", row) == ["250.00", "50.0 %", "1,234"]


def test_what_was_not_looked_for_is_not_called_none(tmp_path):
    run = FinishedRun(tmp_path).make()
    overlap = {"overlap.words": 0, "overlap.removed": {"validation": 0, "test": 0}}
    changed(data_metrics(), overlap).write(tmp_path / "data.json")
    plan(gradient_clipping=0).write(tmp_path / "plan.json")
    out = run.report()
    page = (out / "report.html").read_text()
    assert row("lost, since the tokenizer lacks them", "0 characters") in page
    assert row("special tokens spelled out in the texts", "52, encoded as text") in page
    assert row("removed as overlap with train", "not looked for") in page
    assert row("gradient clipping", "none") in page
    assert "not looked for" in (out / "report/data.svg").read_text()


def row(name, value):
    return f'<tr><th scope="row">{name}</th><td>{value}</td></tr>'


def test_the_title_of_the_loss_tells_a_rise_and_the_lowest(run):
    results = run.read()
    assert loss_title(results) == "Validation loss fell from 8.00 to 6.00 in 8 steps"
    losses = {"validation_loss": 9.0, "best_validation_loss": 7.5}
    worse = replace(results, finetune=changed(results.finetune, losses))
    assert "rose from 8.00 to 9.00 in 8 steps; its lowest was 7.50" in loss_title(worse)


def test_a_running_mean_is_drawn_only_where_it_is_whole():
    means = running_mean([float("nan"), 1, 2, 3, 4, 6], 3).tolist()
    assert means[2:5] == [2, 3, 13 / 3]
    assert all(mean != mean for mean in [*means[:2], means[5]])


def test_points_are_thinned_evenly():
    assert evenly(3, 10).tolist() == [0, 1, 2]
    assert evenly(101, 5).tolist() == [0, 25, 50, 75, 100]


def test_the_summary_is_aligned_and_fits_a_terminal():
    lines = summary_lines(evaluation(-0.5), has_answers=False)
    assert all(len(line) <= 80 for line in lines)
    header, bits, *_ = lines
    for title, value in {"base": "3.000", "tuned": "2.500", "change": "-0.500"}.items():
        assert header.index(title) + len(title) == bits.index(value) + len(value)
    assert "-0.600 to -0.400" in bits
    assert any("unigram" in line and "2.700" in line for line in lines)


def test_the_summary_of_answers_counts_those_that_are_exactly_right():
    matches = {
        name: ExactMatch(examples=40, matches=count, share=count / 40)
        for name, count in {"base": 4, "tuned": 10}.items()
    }
    answered = evaluation(-0.5).model_copy(
        update={"exact_match": ExactMatches(**matches)}
    )
    lines = summary_lines(answered, has_answers=True)
    assert all(len(line) <= 80 for line in lines)
    [exact] = [line for line in lines if line.startswith("exactly right")]
    assert " ".join(exact.split()) == "exactly right 10.0 % 25.0 % +15.0 pts"
    caption = " ".join(lines)
    assert "test examples; the tuned model predicts" in caption


def test_the_summary_says_what_was_predicted_of_the_training():
    score = Score(True, 63.0, 60.0, 2.0, 2.5)
    lines = summary_lines(evaluation(-0.5), has_answers=False, score=score)
    assert all(len(line) <= 80 for line in lines)
    assert " ".join(lines).endswith(f"The training: {score.line}.")


def test_the_summary_has_the_memory_of_each_phase_that_was_measured():
    phases = (
        PhaseScore("while making the optimizer", 1_200.0, 1_211.4),
        PhaseScore("in training steps", 63.0, 60.0),
    )
    score = Score(True, 63.0, 60.0, 2.0, 2.5, phases)
    lines = summary_lines(evaluation(-0.5), has_answers=False, score=score)
    assert all(len(line) <= 80 for line in lines)
    header, *rows = ("|".join(line.split()) for line in lines[-3:])
    assert header == "GPU|memory|predicted|measured|the|prediction|is"
    assert rows == [
        "while|making|the|optimizer|1,200.0|GB|1,211.4|GB|0.9|%|too|little",
        "in|training|steps|63.0|GB|60.0|GB|5.0|%|too|much",
    ]
    ends = [line.index(" GB") for line in lines[-2:]]
    assert ends[0] == ends[1]


def test_the_page_has_predicted_beside_measured(run):
    page = (run.report() / "report.html").read_text()
    plan = page[page.index('<section id="plan">') :]
    assert '<th scope="row">most tensors of a rank</th>' in plan
    assert '<th scope="row">in training steps</th>' in plan
    assert 'id="figure-memory"' in plan


def test_the_summary_needs_nothing_that_only_steps_have():
    # Snakemake shows it, perhaps from an environment with nothing but Snakemake.
    code = "import sys, retune.reporting.summary; print(*sys.modules)"
    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert not {"numpy", "pyarrow", "matplotlib"} & set(shown.stdout.split())
