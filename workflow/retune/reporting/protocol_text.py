"""How the models were scored, in a paragraph for people."""

from retune.quantities import counted, percent
from retune.reporting.run_results import RunResults


def protocol_text(run: RunResults) -> str:
    """Return how the models were scored, in a paragraph."""
    protocol, test = run.evaluation.protocol, run.evaluation.test
    return (
        f"Each held-out document is scored by itself, after {protocol.prefix}, every"
        f" token exactly once, in windows of {protocol.context_length:,} tokens that"
        f" move on by {protocol.stride:,}, in {protocol.dtype} on"
        f" {protocol.device}. Bits per byte divide by the text's UTF-8 bytes and so"
        " compare models with different tokenizers; lower is better. The interval is a"
        " paired bootstrap over the documents"
        f" ({run.settings.evaluate.bootstrap_draws:,} draws)."
        f" The tuned model predicts {percent(test.win_rate)} of the"
        f" {counted(test.tuned.documents, 'test document')} better than the base"
        " model. Floors: unigram goes by how often each token occurs in the training"
        " data, uniform finds every token equally likely."
    )
