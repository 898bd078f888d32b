"""How the models were scored, in a paragraph for people."""

from retune.quantities import counted, percent
from retune.reporting.run_results import RunResults


def protocol_text(run: RunResults) -> str:
    """Return how the models were scored, in a paragraph."""
    protocol, test, terms = run.evaluation.protocol, run.evaluation.test, run.terms
    after = f", after {protocol.prefix}" if protocol.prefix else ""
    tokens = "each trained token of its answers" if terms.has_answers else "every token"
    text = "answers'" if terms.has_answers else "text's"
    return (
        f"Each held-out {terms.document} is scored by itself{after}, {tokens}"
        f" exactly once, in windows of {protocol.context_length:,} tokens that"
        f" move on by {protocol.stride:,}, in {protocol.dtype} on"
        f" {protocol.device}. {terms.measure.capitalize()} divide by the {text} UTF-8"
        " bytes and so compare models with different tokenizers; lower is better. The"
        f" interval is a paired bootstrap over the {terms.documents}"
        f" ({run.settings.evaluate.bootstrap_draws:,} draws)."
        f" The tuned model predicts {percent(test.win_rate)} of the"
        f" {counted(test.tuned.documents, f'test {terms.document}')} better than the"
        " base model. Floors: unigram goes by how often each token occurs in the"
        " training data, uniform finds every token equally likely."
    )
