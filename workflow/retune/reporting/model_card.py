"""The model card: README.md of the published model, in the Hugging Face form."""

from huggingface_hub import EvalResult, ModelCardData

from retune.artifacts.provenance import Provenance
from retune.quantities import parameters
from retune.reporting.escaping import to_html, to_markdown
from retune.reporting.protocol_text import protocol_text
from retune.reporting.public_settings import settings_text
from retune.reporting.run_results import RunResults
from retune.reporting.source_rows import parts_of
from retune.reporting.tables import Table, tables_of
from retune.reporting.template_files import load_template
from retune.reporting.titles import title_of, title_of_base, title_of_dataset

# Number of characters that a prompt in a line of Python has at most.
MOST_SHOWN = 60


def write_card(run: RunResults, provenance: Provenance) -> str:
    """Return the card; texts of data and models are escaped by the template."""
    filters = {"markdown": to_markdown, "html": to_html}
    return load_template("model_card.md.j2", filters).render(
        front_matter=front_matter(run).to_yaml(),
        title=title_of(run),
        is_builtin_model=run.settings.model.source == "builtin",
        parameters=parameters(run.plan.num_parameters),
        base=title_of_base(run.settings.model),
        lora=run.settings.finetune.lora,
        precision=run.plan.precision,
        dataset=title_of_dataset(run.settings.dataset),
        terms=run.terms,
        prompt=repr(prompt_of(run)),
        tables=tables_of(run, provenance),
        protocol=protocol_text(run),
        samples=samples_table(run),
        settings=settings_text(run.settings),
    )


def front_matter(run: RunResults) -> ModelCardData:
    """Return the card's metadata, which the hub reads."""
    model = run.settings.model
    datasets = [part.settings.name for part in parts_of(run) if part.settings.name]
    is_of_hub = model.source == "hub"
    return ModelCardData(
        library_name="transformers",
        pipeline_tag="text-generation",
        tags=["retune", "deepspeed"],
        base_model=model.name if is_of_hub else None,
        base_model_relation="finetune" if is_of_hub else None,
        datasets=datasets or None,
        model_name=title_of(run),
        eval_results=eval_results(run),
    )


def eval_results(run: RunResults) -> list[EvalResult]:
    """Return what was measured of the tuned model, for the hub's leaderboards."""
    tuned, dataset = run.evaluation.test.tuned, run.settings.dataset
    matches = run.evaluation.exact_match
    metrics = (
        ("bits_per_byte", run.terms.measure.capitalize(), tuned.bits_per_byte),
        ("perplexity", "Token perplexity", tuned.token_perplexity),
        ("perplexity", "Word perplexity", tuned.word_perplexity),
        ("exact_match", "Exact match", matches.tuned.share if matches else None),
    )
    return [
        EvalResult(
            task_type="text-generation",
            task_name="Text generation",
            dataset_type=dataset.name or dataset.source,
            dataset_name=title_of_dataset(dataset),
            dataset_split="test",
            metric_type=kind,
            metric_name=name,
            metric_value=round(value, 4),
        )
        for kind, name, value in metrics
        if value is not None
    ]


def prompt_of(run: RunResults) -> str:
    """Return the first prompt of the samples that is short enough for the example."""
    prompts = [sample.prompt for sample in run.samples.samples]
    return next((text for text in prompts if 0 < len(text) <= MOST_SHOWN), "The")


def samples_table(run: RunResults) -> Table:
    """Return the table of prompts and the likeliest text of each model.

    It has also what the data has as the answer, if there is any.
    """
    samples = run.samples.samples
    header = ("question" if run.terms.document == "conversation" else "prompt",)
    rows = [(each.prompt, each.base, each.tuned) for each in samples]
    if all(each.reference is None for each in samples):
        return Table("Samples", rows, (*header, "base", "tuned"))
    rows_with_reference = [
        (*row, each.reference or "") for row, each in zip(rows, samples, strict=True)
    ]
    header_with_reference = (*header, "base", "tuned", "the data")
    return Table("Samples", rows_with_reference, header_with_reference)
