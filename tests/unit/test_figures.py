"""Figures: whatever the numbers, all text is within the figure, and none overlaps."""

import colorsys
import itertools
from dataclasses import replace

import matplotlib
import numpy as np
import pyarrow as pa
import pytest
from matplotlib.colors import to_rgb

from finished_run import FinishedRun, changed
from retune.artifacts.tokens_card import Lengths
from retune.reporting.figure_style import (
    NARROW,
    STYLE,
    TITLE_HEIGHT,
    VALIDATION,
    WIDE,
    draw,
    keep_apart,
    short,
)
from retune.reporting.figures import drawings_of


def usual(run):
    return run


def one_document(run):
    return replace(
        run,
        evaluation=changed(run.evaluation, {"test.tuned.documents": 1}),
        base_documents=run.base_documents.slice(5, 1),
        tuned_documents=run.tuned_documents.slice(5, 1),
    )


def huge(run):
    """A run of many documents, in which all went wrong that can."""
    draws = np.random.default_rng(0)
    base = draws.lognormal(1, 1.2, 100_000)
    tuned = base * draws.lognormal(-0.1, 0.3, len(base))
    documents = {"train": 123_456_789, "validation": 12_345, "test": len(base)}
    data = {
        "documents": documents,
        "rejected.count": 50_000_000,
        "duplicates_removed": 30_000_000,
        "overlap.removed": {"validation": 1_234_567, "test": 1},
    }
    splits = {
        split: numbers.model_copy(update={"tokens": 1234 * documents[split]})
        for split, numbers in run.tokens.splits.items()
    }
    bins = tuple(round(1000 * 2 ** (i / 2)) for i in range(-18, 30))
    counts = tuple(10**6 + i for i in range(len(bins)))
    lengths = Lengths(shortest=2, median=123_456.5, longest=bins[-1], counts=counts)
    card = {
        "sequence_length": 1000,
        "bins": bins,
        "lengths": {split: lengths for split in documents},
    }
    test = {
        "test.base.bits_per_byte": 12345.678,
        "test.bits_per_byte_change_low": -12345.6,
        "test.bits_per_byte_change_high": -12345.5,
    }
    losses = {"validation_loss": 1.5e5, "best_validation_loss": 1e5}
    history = replace(
        run.history,
        grad_norm=1e7 * run.history.grad_norm,
        learning_rate=run.history.learning_rate / 1e3,
        seconds=run.history.seconds / 1e6,
    )
    return replace(
        run,
        data=changed(run.data, data),
        history=history,
        validation=replace(run.validation, validation_loss=np.array([2e5, 1.5e5])),
        finetune=changed(run.finetune, losses),
        evaluation=changed(run.evaluation, test),
        card=changed(run.card, card),
        tokens=run.tokens.model_copy(update={"splits": splits}),
        base_documents=scores(base),
        tuned_documents=scores(tuned),
    )


def answers(run):
    """A run of conversations."""
    kind = {"kind": "example"}
    protocol = {"protocol.chat_template_sha256": "1" * 64}
    return replace(
        run,
        data=changed(run.data, kind),
        tokens=changed(run.tokens, {"packing": "best_fit"}),
        evaluation=changed(run.evaluation, protocol),
    )


def one_length(run):
    """A run of one sequence, whose block is far longer."""
    bins = tuple(sorted({round(2 ** (i / 2)) for i in range(24)}))
    counts = (1, *[0] * (len(bins) - 1))
    lengths = Lengths(shortest=1, median=1, longest=1, counts=counts)
    card = {
        "sequence_length": bins[-1],
        "bins": bins,
        "lengths": {"train": lengths},
    }
    return replace(run, card=changed(run.card, card))


def scores(bits_per_byte):
    return pa.table(
        {
            "split": ["test"] * len(bits_per_byte),
            "nll": bits_per_byte * np.log(2) * 100,
            "bytes": np.full(len(bits_per_byte), 100),
        }
    )


@pytest.fixture(
    params=[(usual, 8), (one_document, 1), (huge, 8), (answers, 8), (one_length, 8)],
    ids=["usual", "one_document", "huge", "answers", "one_length"],
)
def run(request, tmp_path):
    change, steps = request.param
    return change(FinishedRun(tmp_path).make(steps=steps).read())


def shown(texts):
    return [text for text in texts if text.get_visible() and text.get_text()]


def tick_labels(axis):
    """Return the labels of the ticks that are drawn."""
    low, high = sorted(axis.get_view_interval())
    ticks = [tick for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
    return shown(tick.label1 for tick in ticks)


@pytest.mark.parametrize("width", [NARROW, WIDE])
def test_no_text_leaves_its_figure_and_no_label_touches_another(run, width):
    for drawing in drawings_of(run).values():
        height = drawing.narrow_height or drawing.height
        with matplotlib.rc_context(STYLE):
            figure = draw(drawing, width, height, TITLE_HEIGHT)
            figure.draw_without_rendering()
            for axes in figure.axes:
                check_labels(figure, axes)
            titles = [text.get_window_extent() for text in figure.texts]
        assert all(box.x0 >= 0 and box.x1 <= figure.bbox.x1 for box in titles)


def check_labels(figure, axes):
    """Assert that the texts of axes are in the figure and apart from each other."""
    groups = [
        tick_labels(axes.xaxis),
        [*tick_labels(axes.yaxis), *shown(axes.texts)],
        shown([axes.xaxis.label, axes.yaxis.label]),
    ]
    for texts in groups:
        boxes = [text.get_window_extent() for text in texts]
        for text, box in zip(texts, boxes, strict=True):
            inside = figure.bbox.padded(1)
            assert inside.x0 <= box.x0, text
            assert box.x1 <= inside.x1, text
            assert inside.y0 <= box.y0, text
            assert box.y1 <= inside.y1, text
        for one, other in itertools.combinations(boxes, 2):
            assert not one.padded(-1).overlaps(other.padded(-1))


@pytest.mark.parametrize(
    ("middles", "placed"),
    [
        ([5], [5]),
        ([0.2], [1]),  # not below the axes
        ([10], [9]),  # nor above
        ([5, 5], [5, 7]),
        ([9, 10], [7, 9]),
        ([0, 9, 9.5], [1, 7, 9]),
    ],
)
def test_labels_are_kept_apart_and_within(middles, placed):
    assert keep_apart(middles, [2] * len(middles), 0, 10) == placed


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.0015, "0.0015"),
        (1.5e-5, "1.5e\N{MINUS SIGN}05"),
        (-1.75, "\N{MINUS SIGN}1.75"),
        (200_000, "200,000"),
        (20_000_000, "20 M"),
    ],
)
def test_a_tick_says_its_whole_value(value, text):
    assert short(value) == text


def test_what_texts_call_orange_is_orange():
    hue, *_ = colorsys.rgb_to_hsv(*to_rgb(VALIDATION))
    assert 15 < 360 * hue < 45


def test_no_text_of_a_figure_names_a_colour_it_has_not(run):
    for drawing in drawings_of(run).values():
        words = drawing.subtitle.lower().replace(":", "").replace(".", "").split()
        assert not {"red", "yellow", "black", "purple"} & set(words)
