"""The model card: README.md of the published model, in the Hugging Face form."""

from collections.abc import Iterable, Sequence
from typing import Any

from retune.quantities import parameters
from retune.reporting.escaping import to_html, to_markdown
from retune.reporting.evaluation_rows import HEADER, Row, evaluation_rows, floor_rows
from retune.reporting.fact_rows import (
    as_yaml,
    origin_rows,
    protocol_text,
    removal_rows,
    settings_text,
    split_rows,
    title_of,
    title_of_base,
    title_of_dataset,
    training_rows,
)
from retune.reporting.provenance_rows import machine_rows, provenance_rows
from retune.reporting.run_results import RunResults
from retune.reporting.tables import FLOOR_HEADER, SPLIT_HEADER
from retune.training.provenance import Provenance

CARD = """\
---
{front_matter}---

# {title}

{what_it_is}

```python
from transformers import pipeline

write = pipeline("text-generation", model="models/tuned")
print(write({prompt!r}, max_new_tokens=40)[0]["generated_text"])
```

## Evaluation

On the test split:

{evaluation}

{floors}

{protocol}

Nothing else was measured: neither truthfulness nor bias, nor any other task.

## Training

{training}

## Data

{origin}

{splits}

{removal}

## Samples

The likeliest continuation of the same prompts by both models; ↵ is a line break.

{samples}

## Provenance

{provenance}

The machine that trained, and what it trained with:

{machine}

<details>
<summary>All settings of the run</summary>

<pre><code>{settings}</code></pre>

</details>
"""

# Characters of a prompt in a line of Python.
MOST_SHOWN = 60
NOT_FOR_USE = (
    "**Not for use.** This is a tiny model, {parameters}, trained from"
    " random weights on {dataset} to show the machinery of the workflow."
)
FINE_TUNED = (
    "A causal language model: {base}, fine-tuned on {dataset} with DeepSpeed. It"
    " continues text; what it was compared on is below, and nothing else is promised."
)


def write_card(run: RunResults, provenance: Provenance) -> str:
    """Return the card."""
    test = run.evaluation["test"]
    return CARD.format(
        front_matter=front_matter(run),
        title=to_markdown(title_of(run)),
        what_it_is=what_it_is(run),
        prompt=prompt_of(run),
        evaluation=table(HEADER, evaluation_rows(test)),
        floors=table(FLOOR_HEADER, floor_rows(run.evaluation)),
        protocol=to_markdown(protocol_text(run)),
        training=table(("training", ""), training_rows(run)),
        origin=table(("data", ""), origin_rows(run)),
        splits=table(SPLIT_HEADER, split_rows(run)),
        removal=table(("removed", "documents"), removal_rows(run)),
        samples=table(("prompt", "base", "tuned"), sample_rows(run)),
        provenance=table(("made from", ""), provenance_rows(run, provenance)),
        machine=table(("machine", ""), machine_rows(provenance)),
        settings=to_html(settings_text(run.settings)),
    )


def front_matter(run: RunResults) -> str:
    """Return the card's metadata, YAML, as the hub reads it."""
    model, dataset = run.settings.model, run.settings.dataset
    values: dict[str, Any] = {
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["retune", "deepspeed"],
    }
    if model.source == "hub":
        values |= {"base_model": model.name, "base_model_relation": "finetune"}
    if dataset.source == "hub":
        values["datasets"] = [dataset.name]
    return as_yaml({**values, "model-index": [model_index(run)]})


def model_index(run: RunResults) -> dict[str, Any]:
    """Return the measured results in the form of the hub's leaderboards."""
    tuned = run.evaluation["test"]["tuned"]
    dataset = run.settings.dataset
    metrics = [
        {"type": kind, "name": name, "value": round(tuned[key], 4)}
        for kind, name, key in (
            ("bits_per_byte", "Bits per byte", "bits_per_byte"),
            ("perplexity", "Token perplexity", "token_perplexity"),
            ("perplexity", "Word perplexity", "word_perplexity"),
        )
        if tuned[key] is not None
    ]
    return {
        "name": title_of(run),
        "results": [
            {
                "task": {"type": "text-generation", "name": "Text generation"},
                "dataset": {
                    "name": title_of_dataset(dataset),
                    "type": dataset.name or dataset.source,
                    "split": "test",
                },
                "metrics": metrics,
            }
        ],
    }


def what_it_is(run: RunResults) -> str:
    """Return the first sentence, which warns of the built-in model."""
    dataset = to_markdown(title_of_dataset(run.settings.dataset))
    if run.settings.model.source == "builtin":
        size = parameters(run.plan["num_parameters"])
        return NOT_FOR_USE.format(parameters=size, dataset=dataset)
    base = to_markdown(title_of_base(run.settings.model))
    return FINE_TUNED.format(base=base, dataset=dataset)


def prompt_of(run: RunResults) -> str:
    """Return the first prompt of the samples, one that is short enough to show."""
    prompts = [sample["prompt"] for sample in run.samples["samples"]]
    return next((text for text in prompts if 0 < len(text) <= MOST_SHOWN), "The")


def sample_rows(run: RunResults) -> list[Row]:
    """Return prompt, the base model's text and the tuned model's."""
    return [
        (sample["prompt"], sample["base"], sample["tuned"])
        for sample in run.samples["samples"]
    ]


def table(header: Sequence[str], rows: Iterable[Row]) -> str:
    """Return a Markdown table of plain text."""
    lines = [header, ["---"] * len(header)]
    lines += [[to_markdown(cell) or " " for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
